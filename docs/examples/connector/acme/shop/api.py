"""Calls of the shop's API, for every component and for auth.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import orjson

from engine.sdk import Http, StepError


class Caller(Protocol):
    """What the context of a component and that of auth.py have in common."""

    @property
    def auth(self) -> Mapping[str, Any]: ...
    @property
    def http(self) -> Http: ...


def call(context: Caller, method: str, path: str, body: Any = None, **params: Any) -> Any:
    """The decoded answer. Raises StepError with the HTTP status as its code: it decides whether a retry helps."""
    answer = context.http.request(
        method,
        context.auth["url"].rstrip("/") + path,
        headers={"Authorization": f"Bearer {context.auth['apiKey']}", "Content-Type": "application/json"},
        params=params,
        body=orjson.dumps(body) if body is not None else None,
        timeout=30,
    )
    if not 200 <= answer.status < 300:
        raise StepError(f"the shop answered {answer.status}: {answer.text[:200]}", code=str(answer.status))
    return answer.json()
