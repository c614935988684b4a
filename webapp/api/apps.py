"""Apps and components: the catalogue, read only (rest-api.md §4)."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, request

from webapp.current import platform
from webapp.openapi import OBJECT, TEXT, Param, operation

routes = Blueprint("apps", __name__)

MANIFESTS = {"type": "array", "items": OBJECT}


@routes.get("/apps")
@operation(
    "All apps by name",
    tag="Apps and components",
    answers={200: {"type": "object", "additionalProperties": OBJECT}},
)
def apps() -> Response:
    return jsonify(platform().catalogue.apps())


@routes.get("/apps/components")
@operation(
    "Manifests of an app's components",
    tag="Apps and components",
    query=(Param("app", "`vendor.service`, `vendor.service.module` or a component; all without it."),),
    description="Private components are left out.",
    answers={200: MANIFESTS},
)
def app_components() -> Response:
    selector = request.args.get("app", "")
    return jsonify([m.raw for m in _public() if not selector or f"{m.name}.".startswith(f"{selector}.")])


@routes.get("/components")
@operation(
    "All components",
    tag="Apps and components",
    query=(Param("manifest", "`yes`: manifests instead of names."),),
    description="Private components are left out.",
    answers={200: {"type": "array", "items": {"anyOf": [TEXT, OBJECT]}}},
)
def components() -> Response:
    whole = request.args.get("manifest", "").lower() in ("yes", "true", "1")
    return jsonify([m.raw if whole else m.name for m in _public()])


def _public() -> list[Any]:
    return [manifest for manifest in platform().catalogue.manifests() if not manifest.private]
