from __future__ import annotations

from typing import Any

import orjson

from connectors.appmixer.utils.http.message import headers_of
from engine.sdk import CancelError, Component, Context, StepError


class Response(Component):
    effects = "none"

    def receive(self, context: Context) -> None:
        given = context.messages["in"].content
        try:
            headers = headers_of(given.get("headers"))
        except StepError as error:
            raise CancelError(error.message) from error
        context.respond(_body(given.get("body"), headers), _status(given.get("statusCode")), headers)


def _body(body: Any, headers: dict[str, str]) -> Any:
    """A text that is said to be JSON, by a header of exactly this name, must be JSON."""
    if isinstance(body, str) and headers.get("Content-type") == "application/json":
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise CancelError(f"body: must be JSON, as the header Content-type says: {error}") from error
    return body


def _status(value: Any) -> int:
    try:
        status = 200 if value in (None, "") else int(value)
    except (TypeError, ValueError):
        status = 0
    if not 200 <= status <= 599:
        raise CancelError(f"statusCode: must be a number from 200 to 599, not {value!r}")
    return status
