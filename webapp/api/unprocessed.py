"""Messages that could not be delivered (rest-api.md §7)."""

from __future__ import annotations

from flask import Blueprint, request

from engine.ports import Doc
from engine.services.listing import parse_list
from webapp.current import platform
from webapp.openapi import LIST_PARAMS, OBJECT, TEXT, Param, Schema, operation
from webapp.session import caller

TAG = "Unprocessed messages"
MESSAGE: Schema = {
    "type": "object",
    "properties": {
        "messageId": TEXT,
        "flowId": TEXT,
        "componentId": {"type": ["string", "null"]},
        "messages": OBJECT,
        "created": TEXT,
        "err": {"type": "string", "description": "JSON text"},
    },
}

routes = Blueprint("unprocessed", __name__)


@routes.get("/unprocessed-messages")
@operation(
    "List your unprocessed messages, newest first",
    tag=TAG,
    query=(Param("flowId", "Of this flow only."), Param("correlationId", "Of this execution only."), *LIST_PARAMS),
    answers={200: {"type": "array", "items": MESSAGE}},
)
def messages() -> list[Doc]:
    query = parse_list(request.args, pattern_fields=("err",), renames={})
    flow_id, correlation_id = request.args.get("flowId"), request.args.get("correlationId")
    return platform().unprocessed.find(caller().user_id, query, flow_id=flow_id, correlation_id=correlation_id)


@routes.get("/unprocessed-messages/<message_id>")
@operation("One unprocessed message", tag=TAG, answers={200: MESSAGE})
def message(message_id: str) -> Doc:
    return platform().unprocessed.info(caller().user_id, message_id)


@routes.post("/unprocessed-messages/<message_id>")
@routes.post("/unprocessed-messages/<message_id>/retry")
@operation("Send a message again", tag=TAG, answers={200: OBJECT}, description="Its flow must be running.")
def retry(message_id: str) -> Doc:
    platform().unprocessed.retry(caller().user_id, message_id)
    return {}


@routes.delete("/unprocessed-messages/<message_id>")
@operation("Delete an unprocessed message", tag=TAG, answers={200: OBJECT})
def delete(message_id: str) -> Doc:
    platform().unprocessed.delete(caller().user_id, message_id)
    return {}
