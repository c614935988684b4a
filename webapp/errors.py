"""How errors leave the web layer: one body for programs, one page for people.

The body is that of rest-api.md §1: `{"statusCode", "error", "message", "details"?}`; a 412 also
carries the fields of the newer revision. `error_body` is pure, so that the webhook door in front
of Flask answers in the same words.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import orjson
from flask import Flask, Response, redirect, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from engine.errors import HeadraceError, PreconditionFailed, Unauthorized
from engine.model.message import new_id

log = logging.getLogger(__name__)

PAGES = ("/app", "/backoffice", "/embed")
"""Address prefixes where a browser gets an HTML page instead of JSON."""

RETRY_SECONDS = 5

_TEXTS = {
    404: "there is nothing at this address",
    405: "this address does not take that method",
    413: "the request body is too large",
    415: "the request body has a content type this address does not take",
}


def error_body(status: int, message: str, details: list[Any] | None = None) -> dict[str, Any]:
    body: dict[str, Any] = {"statusCode": status, "error": HTTPStatus(status).phrase, "message": message}
    if details:
        body["details"] = details
    return body


def retry_after(body: dict[str, Any]) -> str | None:
    """When to ask again, in seconds, as far as an error body says so."""
    told = next((d["retryAfter"] for d in body.get("details", ()) if isinstance(d, dict) and "retryAfter" in d), None)
    return str(told or RETRY_SECONDS) if body["statusCode"] in (429, 503) else None


def body_of(error: Exception, where: str) -> dict[str, Any]:
    """Any exception as an error body. What we did not raise on purpose is logged under an id and told as 500.

    `where` says in the log what was being done: method and path.
    """
    if isinstance(error, HeadraceError) and error.status != 500:
        if isinstance(error, PreconditionFailed) and error.details:
            return {**error_body(error.status, error.message), **error.details[0]}
        return error_body(error.status, error.message, error.details)
    number = new_id()
    log.error("unexpected error", extra={"action": "error", "errorId": number, "where": where}, exc_info=error)
    return error_body(500, f"something went wrong on the server; its log tells more under the number {number}")


def register(app: Flask) -> None:
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _any_error)


def wants_page() -> bool:
    """Whether a person's browser is asking: a page address and an Accept header that takes HTML."""
    under_pages = any(request.path == p or request.path.startswith(f"{p}/") for p in PAGES)
    return under_pages and request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html"


def _http_error(error: HTTPException) -> ResponseReturnValue:
    if error.code is None or error.code < 400:
        return error.get_response()
    response = _answer(error_body(error.code, _TEXTS.get(error.code, error.description or "")))
    for name in ("Allow", "Retry-After"):
        for value in (v for k, v in error.get_headers(request.environ) if k == name):
            response.headers[name] = value
    return response


def _any_error(error: Exception) -> ResponseReturnValue:
    if isinstance(error, Unauthorized) and wants_page():
        return _to_sign_in()
    return _answer(body_of(error, f"{request.method} {request.path}"))


def _answer(body: dict[str, Any]) -> Response:
    status = body["statusCode"]
    if wants_page():
        return Response(render_template("pages/error.html", **body), status, mimetype="text/html")
    response = Response(orjson.dumps(body), status, mimetype="application/json")
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if seconds := retry_after(body):
        response.headers["Retry-After"] = seconds
    return response


def _to_sign_in() -> ResponseReturnValue:
    """Send the browser to sign in and back. A fragment request asks htmx to leave the page."""
    fragment = "HX-Request" in request.headers
    back = request.headers.get("HX-Current-URL", "/app/flows") if fragment else request.full_path.rstrip("?")
    target = f"/app/sign-in?{urlencode({'next': back})}" if request.method == "GET" else "/app/sign-in"
    if fragment:
        return Response(status=204, headers={"HX-Redirect": target})
    return redirect(target)
