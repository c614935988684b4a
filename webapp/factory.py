"""Puts the Flask application together. Everything it serves is registered here or by what is called here."""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from flask import Flask, Response
from flask.json.provider import JSONProvider

import webapp.api
import webapp.pages
from engine.settings import secret_of
from webapp import errors, requestlog, session
from webapp.current import EXTENSION
from webapp.ingress import EXTENSION as INGRESS
from webapp.ingress import Ingress

if TYPE_CHECKING:
    from engine.wiring import Platform

ROOT = Path(__file__).parents[1]
BODY_BYTES = 16 * 1024 * 1024
"""Largest request body unless a view says otherwise (`request.max_content_length`)."""

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
    "connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}


class OrjsonProvider(JSONProvider):
    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return orjson.dumps(obj, option=orjson.OPT_INDENT_2 if kwargs.get("indent") else None).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return orjson.loads(s)

    def response(self, *args: Any, **kwargs: Any) -> Response:
        return Response(orjson.dumps(self._prepare_response_obj(args, kwargs)), mimetype="application/json")


def create_app(platform: Platform) -> Flask:
    app = Flask("headrace", template_folder=str(ROOT / "templates"), static_folder=None, root_path=str(ROOT))
    app.json = OrjsonProvider(app)
    app.extensions[EXTENSION] = platform
    app.config.update(MAX_CONTENT_LENGTH=BODY_BYTES, MAX_FORM_MEMORY_SIZE=BODY_BYTES)
    app.url_map.strict_slashes = False
    errors.register(app)
    requestlog.register(app)
    session.register(app, hmac.digest(secret_of(platform.settings).encode(), b"headrace session 1", "sha256"))
    app.after_request(_secure)
    webapp.api.register(app)
    webapp.pages.register(app, platform)
    door = Ingress(app.wsgi_app, platform)
    app.extensions[INGRESS] = door
    app.wsgi_app = door  # type: ignore[method-assign]
    return app


def _secure(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response
