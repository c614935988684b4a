"""The set of modifiers (rest-api.md §8)."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Blueprint, Response

from engine.ports import Doc
from webapp.current import platform
from webapp.openapi import OBJECT, TEXT, Schema, operation

TAG = "Modifiers"
SET: Schema = {
    "type": "object",
    "properties": {"categories": OBJECT, "modifiers": OBJECT},
    "required": ["modifiers"],
}

routes = Blueprint("modifiers", __name__)


@routes.get("/modifiers")
@operation("The modifiers that mappings may use", tag=TAG, answers={200: SET})
def modifiers() -> Doc:
    return platform().modifiers.to_json()


@routes.put("/modifiers")
@operation("Replace the whole set", tag=TAG, auth="admin", body=SET, answers={200: SET})
def replace(body: dict[str, Any]) -> Doc:
    return platform().modifiers.replace(body)


@routes.delete("/modifiers")
@operation("Go back to the built-in set", tag=TAG, auth="admin", answers={200: OBJECT})
def reset() -> Doc:
    platform().modifiers.reset()
    return {}


@routes.post("/modifiers/test")
@operation(
    "Try the JavaScript of a modifier",
    tag=TAG,
    body={
        "type": "object",
        "properties": {"helperFn": TEXT, "arguments": {"type": "array", "items": {}}},
        "required": ["helperFn"],
    },
    answers={200: {}},
    description="The answer is the bare value.",
)
def test(body: dict[str, Any]) -> Response:
    value = platform().modifiers.test(body["helperFn"], body.get("arguments", []))
    return Response(orjson.dumps(value), mimetype="application/json")
