"""The webhook door: a WSGI callable in front of Flask for `/flows/<id>/components/<id>` only (design.md §5).

Webhooks are the hottest path of the product, and need nothing of a web framework. Limits, error
bodies and metrics are the same functions the rest of the web layer uses; everything else is
handed on to Flask.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import orjson
from werkzeug.formparser import parse_form_data

from engine.errors import HeadraceError, TooLarge, Unavailable
from engine.services.outcome import Reply
from engine.services.webhooks import WebhookRequest
from webapp.errors import body_of

if TYPE_CHECKING:
    from engine.wiring import Platform

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Wsgi = Callable[[Environ, StartResponse], Iterable[bytes]]

_PATH = re.compile(r"^(?:/api)?/flows/([^/]+)/components/([^/]+)/?$")
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH")
CORRELATION_HEADER = "X-Headrace-Correlation-Id"
DEPTH_KEY = "HTTP_X_HEADRACE_DEPTH"
_STATUS = {code: f"{code} {text}" for code, text in (
    (200, "OK"), (201, "Created"), (202, "Accepted"), (204, "No Content"), (400, "Bad Request"), (404, "Not Found"),
    (405, "Method Not Allowed"), (413, "Content Too Large"), (500, "Internal Server Error"),
    (503, "Service Unavailable"), (504, "Gateway Timeout"),
)}  # fmt: skip
_JSON = "application/json"
# What flows answer is other people's markup on our own host: it may show and run, but not as us.
_SANDBOX = ("Content-Security-Policy", "sandbox allow-forms allow-scripts allow-popups")


class Ingress:
    """Wraps `app`; answers webhook calls itself."""

    def __init__(self, app: Wsgi, platform: Platform) -> None:
        self._app = app
        self._platform = platform
        self._limit = platform.settings.webhook_bytes
        self._calls = {n: platform.metrics.webhooks.labels(status=f"{n}xx") for n in range(1, 6)}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        match = _PATH.match(path) if "/components/" in path else None
        if match is None:
            return self._app(environ, start_response)
        status, headers, body = self.answer(environ, match.group(1), match.group(2))
        self._calls[status // 100].inc()
        start_response(_STATUS.get(status) or f"{status} Status", headers)
        return [body]

    def answer(self, environ: Environ, flow_id: str, component_id: str) -> tuple[int, list[tuple[str, str]], bytes]:
        """(status, headers, body) of one call; never raises."""
        method = environ["REQUEST_METHOD"]
        if method not in METHODS:
            status = 204 if method == "OPTIONS" else 405
            return status, [("Allow", ", ".join((*METHODS, "OPTIONS"))), ("Content-Length", "0")], b""
        try:
            request = self._read(environ, method)
            answered = self._platform.webhooks.accept(flow_id, component_id, request)
        except Exception as error:  # noqa: BLE001 - the last door: nothing may pass but an answer
            return _failed(error, f"{method} {environ['PATH_INFO']}")
        return _answer(answered.reply, answered.correlation_id)

    def _read(self, environ: Environ, method: str) -> WebhookRequest:
        query = _query(environ.get("QUERY_STRING", ""))
        correlation = query.pop("correlationId", None) if query else None
        enqueue = query.pop("enqueueOnly", "") if query else ""
        depth = environ.get(DEPTH_KEY, "0")
        return WebhookRequest(
            method=method,
            hostname=environ.get("HTTP_HOST", ""),
            headers=_headers(environ),
            query=query,
            data=self._data(environ),
            correlation_id=correlation if isinstance(correlation, str) and correlation else None,
            enqueue_only=enqueue in ("true", "1"),
            depth=int(depth) if depth.isdigit() else 0,
        )

    def _data(self, environ: Environ) -> Any:
        body = read_body(environ, self._limit)
        if not body:
            return {}
        kind = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
        if kind == _JSON or kind.endswith("+json"):
            return _json_or_text(body)
        if kind in ("application/x-www-form-urlencoded", "multipart/form-data"):
            return _form({**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))})
        return _json_or_text(body) if not kind else body.decode("utf-8", "replace")


def read_body(environ: Environ, limit: int) -> bytes:
    """The whole body. Raises TooLarge beyond `limit` bytes, before reading it where its length is given."""
    length = environ.get("CONTENT_LENGTH")
    if length:
        if int(length) > limit:
            raise TooLarge(f"the body has {length} bytes; a webhook takes at most {limit}")
        return environ["wsgi.input"].read(int(length))  # type: ignore[no-any-return]
    if environ.get("HTTP_TRANSFER_ENCODING", "").lower() != "chunked":
        return b""
    body: bytes = environ["wsgi.input"].read(limit + 1)
    if len(body) > limit:
        raise TooLarge(f"the body is larger than the {limit} bytes a webhook takes")
    return body


def _headers(environ: Environ) -> dict[str, str]:
    headers = {k[5:].replace("_", "-").lower(): v for k, v in environ.items() if k.startswith("HTTP_")}
    if environ.get("CONTENT_TYPE"):
        headers["content-type"] = environ["CONTENT_TYPE"]
    if environ.get("CONTENT_LENGTH"):
        headers["content-length"] = environ["CONTENT_LENGTH"]
    return headers


def _query(text: str) -> dict[str, Any]:
    """One value as text, several as a list."""
    if not text:
        return {}
    return {k: v[0] if len(v) == 1 else v for k, v in parse_qs(text, keep_blank_values=True).items()}


def _json_or_text(body: bytes) -> Any:
    """Malformed JSON is delivered as the text it is: the sender's data must not be lost."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body.decode("utf-8", "replace")
    try:
        return json.loads(text, parse_constant=lambda name: name)  # NaN and big numbers, which orjson refuses
    except ValueError:
        return text


def _form(environ: Environ) -> dict[str, Any]:
    _, fields, files = parse_form_data(environ)
    data: dict[str, Any] = {k: v[0] if len(v) == 1 else v for k, v in fields.lists()}
    for name, file in files.items():
        data[name] = {"filename": file.filename, "contentType": file.mimetype, "content": _text(file.read())}
    return data


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _failed(error: Exception, where: str) -> tuple[int, list[tuple[str, str]], bytes]:
    content = body_of(error, where)
    body = orjson.dumps(content)
    headers = [("Content-Type", _JSON), ("Content-Length", str(len(body)))]
    if isinstance(error, HeadraceError):
        found = next((d["correlationId"] for d in error.details if isinstance(d, dict) and "correlationId" in d), None)
        if found:
            headers.append((CORRELATION_HEADER, found))
        if isinstance(error, Unavailable):
            headers.append(("Retry-After", "5"))
    return content["statusCode"], headers, body


def _answer(reply: Reply, correlation_id: str) -> tuple[int, list[tuple[str, str]], bytes]:
    body, kind = _encode(reply.body)
    given = {k.lower() for k in reply.headers}
    headers = [(k, v) for k, v in reply.headers.items() if _sendable(k, v)]
    if "content-type" not in given and reply.status != 204:
        headers.append(("Content-Type", kind))
    headers += [
        ("Content-Length", str(len(body))),
        ("X-Content-Type-Options", "nosniff"),
        (CORRELATION_HEADER, correlation_id),
        _SANDBOX,
    ]
    return reply.status, headers, body


def _encode(body: Any) -> tuple[bytes, str]:
    if body is None:
        return b"", "text/plain; charset=utf-8"
    if isinstance(body, str):
        kind = "text/html" if body.lstrip()[:1] == "<" else "text/plain"
        return body.encode("utf-8", "replace"), f"{kind}; charset=utf-8"
    return orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS), _JSON


_OURS = {"content-length", "transfer-encoding", "connection", "set-cookie", "content-security-policy"}


def _sendable(name: str, value: str) -> bool:
    """Framing headers are ours; a line break would forge further headers."""
    clean = not any(c in value or c in name for c in "\r\n\0")
    return clean and name.lower() not in _OURS and bool(re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", name))
