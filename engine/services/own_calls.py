"""Outbound calls of a step, marked when they go to this very installation (design.md §4 "Bounds").

Flows can call each other's webhooks in a circle; each such call says how deep it is nested, and the
webhook door refuses the fifty-first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import IO, Any

from engine.model.http import HttpResponse
from engine.ports import Http

DEPTH_HEADER = "X-Headrace-Depth"


class MarkedHttp:
    """`ports.Http` that adds the header to calls of `own_url`."""

    def __init__(self, http: Http, own_url: str, depth: int) -> None:
        self._http = http
        self._own_url = own_url
        self._depth = depth

    def _marked(self, url: str, headers: Mapping[str, str] | None) -> Mapping[str, str] | None:
        if not url.startswith(self._own_url):
            return headers
        return {**(headers or {}), DEPTH_HEADER: str(self._depth + 1)}

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        body: bytes | IO[bytes] | None = None,
        timeout: float = 60.0,
        max_bytes: int | None = None,
        follow: bool = True,
    ) -> HttpResponse:
        return self._http.request(
            method, url, headers=self._marked(url, headers), params=params, body=body, timeout=timeout,
            max_bytes=max_bytes, follow=follow,
        )  # fmt: skip

    def stream(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, timeout: float = 60.0
    ) -> AbstractContextManager[tuple[HttpResponse, Iterator[bytes]]]:
        return self._http.stream(method, url, headers=self._marked(url, headers), timeout=timeout)

    def resolve(self, host: str, port: int) -> str:
        return self._http.resolve(host, port)
