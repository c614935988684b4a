"""What all pages share: navigation, theme, user, filters, and how a fragment answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson
from flask import Flask, Response, make_response, render_template, request

from webapp.session import caller_or_none

NAV = (
    ("flows", "Flows", "workflow", "/app/flows"),
    ("docs", "API reference", "book-open", "/docs"),
)
"""(key, label, icon, address) of each entry of the main navigation; a page names its key as `active`."""

THEMES = ("light", "dark")


def register(app: Flask) -> None:
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    app.context_processor(_shared)
    app.after_request(_fragment_errors)


def _shared() -> dict[str, Any]:
    theme = request.cookies.get("theme", "")
    return {"nav": NAV, "theme": theme if theme in THEMES else None, "user": caller_or_none()}


def _fragment_errors(response: Response) -> Response:
    """An error page must not land where a fragment was expected; toast.js tells it. 422 is a form's answer."""
    if is_fragment() and response.status_code >= 400 and response.status_code != 422:
        response.headers.setdefault("HX-Reswap", "none")
    return response


def is_fragment() -> bool:
    """Whether htmx asks for a part of a page."""
    return "HX-Request" in request.headers


def fragment(template: str, *, events: Mapping[str, Any] | None = None, status: int = 200, **context: Any) -> Response:
    """A part of a page; `events` are sent to the browser with it, as {name: detail}."""
    return tell(make_response(render_template(template, **context), status), events)


def tell(response: Response, events: Mapping[str, Any] | None) -> Response:
    """Let the answer fire events in the browser (header HX-Trigger, so its text must be ASCII)."""
    if events:
        text = orjson.dumps(events).decode()
        response.headers["HX-Trigger"] = "".join(c if c.isascii() else _escaped(c) for c in text)
    return response


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


def note(text: str, tone: str = "success") -> dict[str, Any]:
    """The event that shows a toast."""
    return {"toast": {"text": text, "tone": tone}}


def own_path(address: str | None, default: str = "/app/flows") -> str:
    """`address` reduced to a path of this server's pages, so that `next` cannot lead away from it."""
    parts = urlsplit(address or "")
    if not parts.path.startswith("/app/") or "\\" in parts.path:
        return default
    return parts.path + (f"?{parts.query}" if parts.query else "")
