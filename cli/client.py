"""How commands reach the REST API: over HTTP when a server runs, else in this very process.

Both ways go through the same routes, so a command behaves the same and there is no second
implementation of anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
        decoded = orjson.loads(answer) if answer else None
        if not 200 <= status < 300:
            said = decoded if isinstance(decoded, dict) else {}
            raise ApiError(said.get("message", f"status {status}"), details=said.get("details"))
        return decoded


@contextmanager
def connect(settings: Settings) -> Iterator[Api]:
    """The API of the installation whose data folder the settings name, as its administrator."""
    if _serving(settings):
        yield Api(_over_http(f"http://127.0.0.1:{settings.port}"), wiring.local_token(settings))
        return
    platform = wiring.build(settings)
    try:
        yield Api(_in_process(platform), wiring.local_token(settings))
    finally:
        platform.close()


def _serving(settings: Settings) -> bool:
    """Whether a server answers on the port. One that holds the folder on another port is an error of `build`."""
    try:
        http = urllib3.PoolManager(retries=False, timeout=2)
        return bool(http.request("GET", f"http://127.0.0.1:{settings.port}/health/live").status == 200)
    except urllib3.exceptions.HTTPError:
        return False


def _over_http(base: str) -> Send:
    http = urllib3.PoolManager(retries=False, timeout=60)

    def send(method: str, path: str, body: bytes | None, token: str) -> tuple[int, bytes]:
        try:
            answer = http.request(method, base + path, body=body, headers=_headers(token))
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(f"the server at {base} does not answer: {error}") from error
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
