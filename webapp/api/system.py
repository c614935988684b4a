"""Addresses about the installation itself: version, health, metrics, API documentation (design.md §6)."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from flask import Blueprint, Response, current_app, jsonify, redirect, render_template, request
from flask.typing import ResponseReturnValue

from webapp.current import platform
from webapp.openapi import OBJECT, TEXT, document, operation

routes = Blueprint("system", __name__)

VERSION = version("headrace")
_DOCUMENT = "headrace-openapi"


@routes.get("/")
@operation(
    "Version; a browser is sent to the pages",
    tag="System",
    auth="none",
    answers={200: {"type": "object", "properties": {"version": TEXT}}},
)
def root() -> ResponseReturnValue:
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
        return redirect("/app/flows")
    return {"version": VERSION}


@routes.get("/health/live")
@operation("Whether the process works at all", tag="System", auth="none", answers={200: OBJECT, 503: OBJECT})
def live() -> ResponseReturnValue:
    alive = platform().health.live()
    return {"status": "live" if alive else "stuck"}, 200 if alive else 503


@routes.get("/health")
@operation(
    "Whether it can do its work, with the reasons if not",
    tag="System",
    auth="none",
    answers={200: OBJECT, 503: OBJECT},
)
def ready() -> ResponseReturnValue:
    able, reasons = platform().health.ready()
    return {"status": "ready" if able else "not ready", "reasons": reasons}, 200 if able else 503


@routes.get("/metrics")
@operation("Figures for Prometheus", tag="System", auth="none", answers={200: "text/plain"})
def metrics() -> Response:
    body, content_type = platform().health.metrics()
    return Response(body, content_type=content_type)


@routes.get("/openapi.json")
@operation("This document", tag="System", auth="none", answers={200: OBJECT})
def openapi() -> Response:
    return jsonify(_document())


@routes.get("/docs")
@operation("The API, to read", tag="System", auth="none", answers={200: "text/html"})
def docs() -> str:
    tags: dict[str, list[dict[str, Any]]] = {}
    for path, methods in _document()["paths"].items():
        for method, described in methods.items():
            entry = {"method": method.upper(), "path": path, **described}
            tags.setdefault(described["tags"][0], []).append(entry)
    return render_template("pages/docs.html", tags=tags, version=VERSION)


def _document() -> dict[str, Any]:
    """Made once: routes do not change while the process runs."""
    found: dict[str, Any] | None = current_app.extensions.get(_DOCUMENT)
    if found is None:
        found = current_app.extensions[_DOCUMENT] = document(current_app, VERSION)
    return found
