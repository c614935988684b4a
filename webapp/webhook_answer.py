"""The answer to a webhook call as status, headers and bytes: the same at both doors.

What flows answer is other people's markup on our own host: it may show and run, but not as us, and it
sets nothing that reaches beyond the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import orjson

from engine.errors import HeadraceError
from engine.rules.webhook_settings import ANY_ORIGIN, WebhookSettings
from engine.services.outcome import Reply, not_json
from webapp.errors import body_of, retry_after

Header = tuple[str, str]
Answer = tuple[int, list[Header], bytes]

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH")
ALLOWED = (*METHODS, "HEAD", "OPTIONS")
CORRELATION_HEADER = "X-Headrace-Correlation-Id"
PREFLIGHT_SECONDS = "600"

_JSON = "application/json"
_SANDBOX = ("Content-Security-Policy", "sandbox allow-forms allow-scripts allow-popups")
_NO_SNIFFING = ("X-Content-Type-Options", "nosniff")
_ALLOW = ("Allow", ", ".join(ALLOWED))
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_ASKED = re.compile(r"[A-Za-z0-9_, -]{1,1000}")
_BODILESS = (204, 304)

OURS = frozenset(
    (
        *("content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer"),
        *("date", "server", "set-cookie", "content-security-policy", "x-content-type-options"),
        *("x-headrace-correlation-id", "clear-site-data", "strict-transport-security", "service-worker-allowed"),
        *("alt-svc", "nel", "report-to", "reporting-endpoints"),
    )
)
"""Headers a flow cannot set: how the answer is framed, and what would hold for all of this host."""


def answered(reply: Reply, correlation_id: str) -> Answer:
    if not 200 <= reply.status <= 599:  # the caller would go on waiting for the real answer
        reply = Reply(500, {**_WRONG_STATUS, "message": f"the flow answered with status {reply.status}"})
    try:
        body, kind = _encode(reply.body)
    except TypeError as error:
        reply = not_json(error)
        body, kind = _encode(reply.body)
    headers = [pair for name, value in reply.headers.items() for pair in _sendable(name, value)]
    if reply.status in _BODILESS:
        body = b""
    else:
        if not any(name.lower() == "content-type" for name, _ in headers):
            headers.append(("Content-Type", kind))
        headers.append(("Content-Length", str(len(body))))
    headers += [_NO_SNIFFING, (CORRELATION_HEADER, correlation_id), _SANDBOX]
    return reply.status, headers, body


_WRONG_STATUS = {"statusCode": 500, "error": "Internal Server Error"}


def refused(error: Exception, where: str, challenge: str = "") -> Answer:
    """`challenge`: how to identify oneself, for a 401."""
    content = body_of(error, where)
    status = content["statusCode"]
    body = orjson.dumps(content)
    headers = [("Content-Type", _JSON), ("Content-Length", str(len(body))), _NO_SNIFFING]
    if isinstance(error, HeadraceError):
        found = next((d["correlationId"] for d in error.details if isinstance(d, dict) and "correlationId" in d), None)
        if found:
            headers.append((CORRELATION_HEADER, found))
    if seconds := retry_after(content):
        headers.append(("Retry-After", seconds))
    if status == 401 and challenge:
        headers.append(("WWW-Authenticate", challenge))
    return status, headers, body


def options() -> Answer:
    return 204, [_ALLOW], b""


def head() -> Answer:
    """The webhook is there; nothing runs."""
    return 200, [("Content-Length", "0"), _NO_SNIFFING], b""


def not_allowed() -> Answer:
    return 405, [_ALLOW, ("Content-Length", "0")], b""


def with_cors(answer: Answer, settings: WebhookSettings, environ: dict[str, Any]) -> Answer:
    """The answer as scripts of the allowed origins may read it; to others it says nothing of the kind."""
    status, headers, body = answer
    kept = [(k, v) for k, v in headers if not k.lower().startswith("access-control-") and k.lower() != "vary"]
    return status, [*kept, *_cors(settings, environ)], body


def _cors(settings: WebhookSettings, environ: dict[str, Any]) -> Iterable[Header]:
    origin = environ.get("HTTP_ORIGIN", "")
    anybody = ANY_ORIGIN in settings.origins
    if not anybody:
        yield "Vary", "Origin"
    if not origin or not (anybody or origin.lower() in settings.origins):
        return
    yield "Access-Control-Allow-Origin", ANY_ORIGIN if anybody else origin
    if environ["REQUEST_METHOD"] != "OPTIONS":
        yield "Access-Control-Expose-Headers", f"{CORRELATION_HEADER}, Retry-After"
        return
    yield "Access-Control-Allow-Methods", ", ".join((*METHODS, "HEAD"))
    asked = environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS", "")
    if _ASKED.fullmatch(asked):
        yield "Access-Control-Allow-Headers", asked
    yield "Access-Control-Max-Age", PREFLIGHT_SECONDS


def _encode(body: Any) -> tuple[bytes, str]:
    """Raises TypeError for what is not JSON."""
    if body is None:
        return b"", "text/plain; charset=utf-8"
    if isinstance(body, str):
        kind = "text/html" if body.lstrip()[:1] == "<" else "text/plain"
        return body.encode("utf-8", "replace"), f"{kind}; charset=utf-8"
    return orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS), _JSON


def _sendable(name: str, value: str) -> Iterable[Header]:
    """The header, unless it is ours or would forge others. Text beyond Latin-1 goes as UTF-8."""
    if name.lower() in OURS or not _NAME.fullmatch(name):
        return
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        value = value.encode("utf-8", "replace").decode("latin-1")
    if _VALUE.fullmatch(value):
        yield name, value.strip()
