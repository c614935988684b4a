"""How commands reach the REST API: over HTTP when a server has the data folder, else in this very process.

Both ways go through the same routes, so a command behaves the same and there is no second
implementation of anything.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import orjson
import urllib3

from engine import wiring
from engine.errors import HeadraceError, Unavailable
from engine.settings import Settings


class Send(Protocol):
    def __call__(self, method: str, path: str, body: bytes | None, token: str) -> tuple[int, bytes]: ...


class ApiError(HeadraceError):
    """The API refused; `message` is what it said."""


class Api:
    """`call` returns the decoded answer. Raises ApiError with the server's message for anything but 2xx."""

    def __init__(self, send: Send, token: str) -> None:
        self._send = send
        self._token = token

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = orjson.dumps(body) if body is not None else None
        status, answer = self._send(method, path, data, self._token)
        try:
            decoded = orjson.loads(answer) if answer else None
        except orjson.JSONDecodeError as error:
            raise ApiError(f"{method} {path} answered {status} with something that is not JSON") from error
        if status == 401:
            raise ApiError("the server does not know this token: give the command the server's HEADRACE_SECRET")
        if not 200 <= status < 300:
            said = decoded if isinstance(decoded, dict) else {}
            raise ApiError(said.get("message", f"status {status}"), details=said.get("details"))
        return decoded


@contextmanager
def connect(settings: Settings) -> Iterator[Api]:
    """The API of the installation whose data folder the settings name, as its first administrator.

    Raises NotFound while there is no administrator.
    """
    if in_use(settings.data):
        yield Api(_over_http(settings.local_url), wiring.local_token(settings))
        return
    platform = wiring.build(settings)
    try:
        yield Api(_in_process(platform), wiring.local_token(settings))
    finally:
        platform.close()


def in_use(folder: Path) -> bool:
    """Whether another process holds the lock on a data folder (design.md §3)."""
    try:
        handle = (folder / "lock").open("rb")
    except FileNotFoundError:
        return False
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _over_http(base: str) -> Send:
    http = urllib3.PoolManager(retries=False, timeout=60)

    def send(method: str, path: str, body: bytes | None, token: str) -> tuple[int, bytes]:
        try:
            answer = http.request(method, base + path, body=body, headers=_headers(token))
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(
                f"the data folder is in use, but no server answers at {base}: "
                "give the command the server's HEADRACE_HOST and HEADRACE_PORT"
            ) from error
        return answer.status, answer.data

    return send


def _in_process(platform: wiring.Platform) -> Send:
    from webapp.factory import create_app

    client = create_app(platform).test_client()

    def send(method: str, path: str, body: bytes | None, token: str) -> tuple[int, bytes]:
        answer = client.open(path, method=method, data=body, headers=_headers(token))
        return answer.status_code, answer.get_data()

    return send


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Accept": "application/json"}
