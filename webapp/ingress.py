"""The webhook door: a WSGI callable in front of Flask for `/flows/<id>/components/<id>` only (design.md §5).

Webhooks are the hottest path of the product, and need nothing of a web framework. Limits, error
bodies and metrics are the same functions the rest of the web layer uses; everything else is
handed on to Flask, whose route for this address answers through `Ingress.answer` too.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable
from typing import IO, TYPE_CHECKING, Any

from engine.rules.webhook_settings import WebhookSettings
from engine.services.webhooks import Door, WebhookRequest
from webapp import webhook_answer
from webapp.limits import Rate, caller_address
from webapp.webhook_answer import ALLOWED, Answer
from webapp.webhook_body import Body, Environ, parse, parse_query, read_body

if TYPE_CHECKING:
    from engine.wiring import Platform

StartResponse = Callable[..., Any]
Wsgi = Callable[[Environ, StartResponse], Iterable[bytes]]

EXTENSION = "headrace ingress"
"""Where the application's own door is kept among its extensions."""

_PATH = re.compile(r"^(?:/api)?/flows/([^/]+)/components/([^/]+)/?$")
_DEPTH = "HTTP_X_HEADRACE_DEPTH"
_STATUS = {code: f"{code} {text}" for code, text in (
    (200, "OK"), (201, "Created"), (202, "Accepted"), (204, "No Content"), (400, "Bad Request"),
    (401, "Unauthorized"), (404, "Not Found"), (405, "Method Not Allowed"), (413, "Content Too Large"),
    (429, "Too Many Requests"),
    (500, "Internal Server Error"), (503, "Service Unavailable"), (504, "Gateway Timeout"),
)}  # fmt: skip
_NOTHING: dict[str, Any] = {}


class Ingress:
    """Wraps `app`; answers webhook calls itself."""

    def __init__(self, app: Wsgi, platform: Platform) -> None:
        self._app = app
        self._webhooks = platform.webhooks
        self._clock = platform.clock
        self._limit = platform.settings.webhook_bytes
        self._upload_limit = max(self._limit, platform.settings.webhook_upload_bytes)
        rates = platform.settings
        self._proxies = rates.proxies
        self._per_flow = Rate(rates.webhook_rate, rates.webhook_burst, "calls to this flow")
        self._per_address = Rate(rates.webhook_address_rate, rates.webhook_burst, "calls from your address")
        self._calls = {n: platform.metrics.webhooks.labels(status=f"{n}xx") for n in range(1, 6)}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        match = _PATH.match(path) if "/components/" in path else None
        if match is None:
            return self._app(environ, start_response)
        status, headers, body = self.answer(environ, match.group(1), match.group(2))
        start_response(_STATUS.get(status) or f"{status} Status", headers)
        return [body]

    def answer(self, environ: Environ, flow_id: str, component_id: str) -> Answer:
        """(status, headers, body) of one call; never raises."""
        settings: WebhookSettings | None = None
        try:
            if self._per_address.limits:
                self._per_address.check(caller_address(environ, self._proxies))
            if environ["REQUEST_METHOD"] not in ALLOWED:
                answer = webhook_answer.not_allowed()
            else:
                door = self._webhooks.door(flow_id, component_id)
                settings = door.settings
                answer = self._enter(door, environ)
        except Exception as error:  # noqa: BLE001 - the last door: nothing may pass but an answer
            challenge = settings.check.challenge if settings is not None and settings.check is not None else ""
            answer = webhook_answer.refused(error, f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}", challenge)
        if settings is not None and settings.origins:
            answer = webhook_answer.with_cors(answer, settings, environ)
        self._calls[answer[0] // 100].inc()
        return answer

    def _enter(self, door: Door, environ: Environ) -> Answer:
        method = environ["REQUEST_METHOD"]
        if method == "OPTIONS":
            return webhook_answer.options()
        if method == "HEAD":
            return webhook_answer.head()
        self._per_flow.check(door.running.id)
        opened: list[IO[bytes]] = []
        try:
            answered = self._webhooks.enter(door, self._request(door.settings, environ, method, opened))
        finally:
            for stream in opened:
                stream.close()
        return webhook_answer.answered(answered.reply, answered.correlation_id)

    def _request(
        self, settings: WebhookSettings, environ: Environ, method: str, opened: list[IO[bytes]]
    ) -> WebhookRequest:
        headers = _headers(environ)
        check = settings.check
        more = _NOTHING
        if check is not None and not check.reads_body:
            more = dict(check(headers, (), self._clock.now()))
        body = read_body(environ, self._limit, self._limit if settings.raw else self._upload_limit, opened)
        if check is not None:
            if check.reads_body:
                more = dict(check(headers, body.pieces(), self._clock.now()))
            for name in check.hides:
                headers.pop(name, None)
        if settings.raw:
            more = {**more, "rawBody": _raw(body, settings.raw)}
        data, files = parse(body, environ, self._limit, opened)
        query = _query(environ.get("QUERY_STRING", ""))
        correlation = query.pop("correlationId", None) if query else None
        return WebhookRequest(
            method=method,
            hostname=environ.get("HTTP_HOST", ""),
            headers=headers,
            query=query,
            data=data,
            correlation_id=correlation if isinstance(correlation, str) and correlation else None,
            enqueue_only=bool(query) and query.pop("enqueueOnly", "") in ("true", "1"),
            depth=depth_of(environ),
            files=files,
            more=more,
        )


def _headers(environ: Environ) -> dict[str, str]:
    headers = {k[5:].replace("_", "-").lower(): v for k, v in environ.items() if k.startswith("HTTP_")}
    if environ.get("CONTENT_TYPE"):
        headers["content-type"] = environ["CONTENT_TYPE"]
    if environ.get("CONTENT_LENGTH"):
        headers["content-length"] = environ["CONTENT_LENGTH"]
    return headers


def _query(text: str) -> dict[str, Any]:
    if not text:
        return {}
    if not text.isascii():  # bytes that were not percent-encoded come as Latin-1 (WSGI)
        text = text.encode("latin-1", "replace").decode("utf-8", "replace")
    return parse_query(text, "query")


def depth_of(environ: Environ) -> int:
    """How many calls of flows this one is nested in, as the engine marks its own (engine.services.own_calls)."""
    text = environ.get(_DEPTH)
    if not text or not (text.isascii() and text.isdecimal()):
        return 0
    return int(text[:6])


def _raw(body: Body, form: str) -> str:
    raw = body.raw()
    return base64.b64encode(raw).decode() if form == "base64" else raw.decode("utf-8", "replace")
