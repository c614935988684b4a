"""The one way out: outbound HTTP on urllib3, guarded (design.md §7, `ports.Http`).

Limits: http and https only, no private addresses (`http_guard`), at most MAX_REDIRECTS redirects,
an overall time, and an overall size counted after decompression. Any status is an answer.
Names of answer headers are in lower case; repeated headers are joined with ", ".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import IO, Any
from urllib.parse import quote, unquote, urljoin

import orjson
from urllib3 import BaseHTTPResponse, Timeout
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.util import Url, make_headers, parse_url

from engine.adapters.http_errors import call_error
from engine.adapters.http_guard import AddressGuard, allowed_addresses, guarded_pool, time_limit
from engine.errors import StepError
from engine.model.http import HttpResponse

MAX_REDIRECTS = 5
CHUNK = 64 * 1024
USER_AGENT = "Headrace"

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_SECRET_HEADERS = ("authorization", "cookie", "proxy-authorization")
_BODY_HEADERS = ("content-type", "content-length", "content-encoding", "content-language", "transfer-encoding")


@dataclass(frozen=True, slots=True)
class _Call:
    """One request of a chain of redirects. `start` is where a file body begins."""

    method: str
    url: Url
    headers: dict[str, str]
    body: bytes | IO[bytes] | None
    start: int | None

    @property
    def place(self) -> str:
        """The address for people: queries and credentials stay out of messages."""
        return self.url._replace(query=None).url


class OutboundHttp:
    """`allow` as in the setting HEADRACE_HTTP_ALLOW; `max_bytes` bounds every answer. Thread-safe."""

    def __init__(self, allow: tuple[str, ...], max_bytes: int) -> None:
        self._guard = AddressGuard(allow)
        self._pools = guarded_pool(self._guard)
        self._max_bytes = max_bytes

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
        """See `ports.Http`. `timeout` covers everything: connecting, redirects and the body.

        A value of `params` may be a list (the name is repeated); None leaves the name out.
        """
        limit = self._max_bytes if max_bytes is None else min(max_bytes, self._max_bytes)
        with time_limit(timeout), self._answer(_call(method, url, headers, params, body), timeout, follow) as answer:
            response, call = answer
            content = b"".join(_chunks(response, call, limit))
            return replace(_head(response, call), body=content)

    def resolve(self, host: str, port: int) -> str:
        """See `ports.Http`."""
        return str(allowed_addresses(self._guard, host, port)[0][4][0])

    @contextmanager
    def stream(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, timeout: float = 60.0
    ) -> Iterator[tuple[HttpResponse, Iterator[bytes]]]:
        """See `ports.Http`. `timeout` covers the head, and then the wait for each chunk."""
        with ExitStack() as stack:
            with time_limit(timeout):
                answer = self._answer(_call(method, url, headers, None, None), timeout, follow=True)
                response, call = stack.enter_context(answer)
            yield _head(response, call), _patient(_chunks(response, call, self._max_bytes), timeout)

    @contextmanager
    def _answer(self, call: _Call, timeout: float, follow: bool) -> Iterator[tuple[BaseHTTPResponse, _Call]]:
        """The answer at the end of the redirects. What is not read of it is not worth keeping a connection for."""
        for _ in range(MAX_REDIRECTS + 1):
            response = self._send(call, timeout)
            location = response.headers.get("location")
            if not (follow and location and response.status in (301, 302, 303, 307, 308)):
                try:
                    yield response, call
                finally:
                    response.close()
                    response.release_conn()
                return
            response.close()
            response.release_conn()
            call = _redirected(call, response.status, location)
        raise StepError(
            f"{call.place}: more than {MAX_REDIRECTS} redirects", code="ERR_TOO_MANY_REDIRECTS", retryable=False
        )

    def _send(self, call: _Call, timeout: float) -> BaseHTTPResponse:
        try:
            return self._pools.urlopen(
                call.method,
                call.url.url,
                redirect=False,
                body=call.body,
                headers=call.headers,
                retries=False,
                preload_content=False,
                timeout=Timeout(connect=timeout, read=timeout),
            )
        except (HTTPError, OSError, ValueError) as error:
            raise call_error(error, call.place) from error


# -- requests


def _call(
    method: str,
    url: str,
    headers: Mapping[str, str] | None,
    params: Mapping[str, Any] | None,
    body: bytes | IO[bytes] | None,
) -> _Call:
    if not _TOKEN.fullmatch(method):
        raise StepError(f"{method!r} is not an HTTP method", code="EINVAL", retryable=False)
    target, credentials = _target(url)
    if params:
        query = "&".join(part for part in (target.query, _encoded(params)) if part)
        target = target._replace(query=query)
    sent = _headers(headers or {})
    names = {name.lower() for name in sent}
    for name, value in (("User-Agent", USER_AGENT), ("Accept-Encoding", "gzip, deflate"), ("Accept", "*/*")):
        if name.lower() not in names:
            sent[name] = value
    if credentials and "authorization" not in names:
        sent.update(_basic(credentials))
    # The framing of the message is ours: a wrong length would garble the next call on the connection.
    dropped = ("transfer-encoding", "content-length") if isinstance(body, bytes | None) else ("transfer-encoding",)
    return _Call(method.upper(), target, _without(sent, dropped), body, _position(body))


def _target(url: str) -> tuple[Url, str | None]:
    """The address as it is sent (no fragment, no credentials) and its credentials."""
    try:
        parsed = parse_url(url.strip())
    except LocationParseError as error:
        raise StepError(f"{url!r} is not an address that can be called", code="EINVAL", retryable=False) from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise StepError(f"{url!r} must begin with http:// or https:// and a host", code="EINVAL", retryable=False)
    return parsed._replace(auth=None, fragment=None), parsed.auth


def _basic(credentials: str) -> dict[str, str]:
    pair = credentials if ":" in credentials else f"{credentials}:"
    encoded = make_headers(basic_auth=unquote(pair, "latin-1"))
    return {"Authorization": encoded["authorization"]}


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    sent: dict[str, str] = {}
    for name, value in headers.items():
        text = str(value)
        problem = None
        if not _TOKEN.fullmatch(name):
            problem = f"{name!r} is not the name of a header"
        elif _FORBIDDEN.search(text):
            problem = f"the header {name} holds a line break or another control character"
        elif any(char > "\xff" for char in text):
            problem = f"the header {name} holds characters that headers cannot carry; encode them"
        if problem:
            raise StepError(f"The request was not sent: {problem}", code="EINVAL", retryable=False)
        sent[name] = text
    return sent


def _encoded(params: Mapping[str, Any]) -> str:
    pairs = []
    for name, value in params.items():
        for item in value if isinstance(value, list | tuple) else (value,):
            if item is not None:
                text = item if isinstance(item, str) else orjson.dumps(item).decode()
                pairs.append(f"{quote(str(name), safe='')}={quote(text, safe='')}")
    return "&".join(pairs)


def _without(headers: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in names}


def _position(body: bytes | IO[bytes] | None) -> int | None:
    if body is None or isinstance(body, bytes) or not body.seekable():
        return None
    return body.tell()


def _redirected(call: _Call, status: int, location: str) -> _Call:
    """The next request, as browsers make it (Fetch standard, "HTTP-redirect fetch")."""
    target, credentials = _target(urljoin(call.url.url, _latin(location)))
    method, headers, body = call.method, call.headers, call.body
    if (status == 303 and method not in ("GET", "HEAD")) or (status in (301, 302) and method == "POST"):
        method, body, headers = "GET", None, _without(headers, _BODY_HEADERS)
    if _origin(target) != _origin(call.url):
        headers = _without(headers, _SECRET_HEADERS)
    if credentials and not any(name.lower() == "authorization" for name in headers):
        headers = {**headers, **_basic(credentials)}
    if body is not None and not isinstance(body, bytes):
        if call.start is None:
            raise StepError(
                f"{call.place} redirects, but the body can be sent only once; call {target.host} directly",
                code="EINVAL",
                retryable=False,
            )
        body.seek(call.start)
    return _Call(method, target, headers, body, call.start)


def _latin(location: str) -> str:
    """Headers arrive as Latin-1; servers mean UTF-8."""
    try:
        return location.encode("latin-1").decode()
    except UnicodeError:
        return location


def _origin(url: Url) -> tuple[str | None, str | None, int]:
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)


# -- answers


def _head(response: BaseHTTPResponse, call: _Call) -> HttpResponse:
    headers: dict[str, str] = {}
    for name, value in response.headers.items():
        headers[name.lower()] = value
    return HttpResponse(response.status, headers, b"", call.url.url)


def _chunks(response: BaseHTTPResponse, call: _Call, limit: int) -> Iterator[bytes]:
    """The decompressed body. Raises StepError as soon as it is known to be larger than `limit`."""
    declared = response.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit and call.method != "HEAD":
        raise _too_large(call, limit)
    received = 0
    while True:
        try:
            # read1 returns what has come, so that a slow sender meets the deadline, not the chunk's size.
            chunk = response.read1(CHUNK, decode_content=True)
        except (HTTPError, OSError, ValueError) as error:
            raise call_error(error, call.place) from error
        if not chunk:
            return
        received += len(chunk)
        if received > limit:
            raise _too_large(call, limit)
        yield chunk


def _patient(chunks: Iterator[bytes], timeout: float) -> Iterator[bytes]:
    while True:
        with time_limit(timeout):
            chunk = next(chunks, None)
        if chunk is None:
            return
        yield chunk


def _too_large(call: _Call, limit: int) -> StepError:
    return StepError(
        f"{call.place}: the answer is larger than {limit} bytes; the setting HEADRACE_HTTP_MAX_BYTES is the most",
        code="EMSGSIZE",
        retryable=False,
    )
