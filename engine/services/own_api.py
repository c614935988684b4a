"""Calls of this installation's own REST API on behalf of a user."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import orjson

from engine.errors import StepError
from engine.ports import Http
from engine.services.users import Users


def api_caller(http: Http, base: str, users: Users) -> Callable[[str, str, str, Any, Mapping[str, Any] | None], Any]:
    """A connector's calls of this installation's own REST API, as the flow's owner (engine.md §3 callAppmixer)."""

    def call(user_id: str, path: str, method: str, body: Any, query: Mapping[str, Any] | None) -> Any:
        headers = {"authorization": f"Bearer {users.token(user_id)}", "content-type": "application/json"}
        answer = http.request(
            method,
            base + quote(path, safe="/?&=%:"),
            headers=headers,
            params=query,
            body=orjson.dumps(body) if body is not None else None,
        )
        if not 200 <= answer.status < 300:
            raise StepError(f"{method} {path} answered {answer.status}: {answer.text[:500]}", code=str(answer.status))
        return answer.json() if answer.body else None

    return call
