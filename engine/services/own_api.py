"""Calls of this installation's own REST API on behalf of a user."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import orjson

from engine.errors import StepError
from engine.ports import Http
from engine.services.own_calls import DEPTH_HEADER
from engine.services.users import Users

ApiCall = Callable[[str, str, str, Any, Mapping[str, Any] | None, int], Any]
"""(user id, path, method, body, query, depth of the message whose step calls) → the decoded answer."""


def api_caller(http: Http, base: str, users: Users) -> ApiCall:
    """A connector's calls of this installation's own REST API, as the flow's owner (engine.md §3 callAppmixer)."""

    def call(user_id: str, path: str, method: str, body: Any, query: Mapping[str, Any] | None, depth: int) -> Any:
        headers = {
            "authorization": f"Bearer {users.token(user_id)}",
            "content-type": "application/json",
            DEPTH_HEADER: str(depth + 1),
        }
        answer = http.request(
            method,
            f"{base}/{quote(path.lstrip('/'), safe='/?&=%:')}",
            headers=headers,
            params=query,
            body=orjson.dumps(body) if body is not None else None,
        )
        if not 200 <= answer.status < 300:
            raise StepError(f"{method} {path} answered {answer.status}: {answer.text[:500]}", code=str(answer.status))
        return answer.json() if answer.body else None

    return call
