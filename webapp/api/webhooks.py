"""Webhook calls and injected messages (rest-api.md §3).

`webapp.ingress` answers webhook calls before Flask sees them; the route here describes them in the
API document and answers in the same way where that door is not in front.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, current_app, request

from webapp.current import platform
from webapp.ingress import EXTENSION, Ingress, depth_of
from webapp.openapi import OBJECT, TEXT, Param, operation
from webapp.session import caller
from webapp.webhook_answer import ALLOWED

routes = Blueprint("webhooks", __name__)


@routes.route("/flows/<flow_id>/components/<component_id>", methods=list(ALLOWED), provide_automatic_options=False)
@operation(
    "Call a component's webhook",
    tag="Webhooks",
    auth="none",
    query=(
        Param("correlationId", "The execution the call belongs to, as in the URL a step handed out."),
        Param("enqueueOnly", "Answer 202 at once, run later.", "boolean"),
    ),
    description="Any body: JSON and forms arrive parsed, files are kept for the flow's owner. The answer is what a "
    "step of the execution says; 204 when the execution ended without one, 504 when there was none in time. The "
    "header X-Headrace-Correlation-Id names the execution. A trigger may check who calls: 401. A second call "
    "with the same Idempotency-Key gets the first one's answer for a day. HEAD answers and starts nothing. "
    "429 with Retry-After: the flow or the caller's address is called too often.",
    answers={
        200: OBJECT,
        202: OBJECT,
        204: "text/plain",
        401: OBJECT,
        404: OBJECT,
        413: OBJECT,
        429: OBJECT,
        504: OBJECT,
    },
)
def call(flow_id: str, component_id: str) -> Response:
    door: Ingress = current_app.extensions[EXTENSION]
    status, headers, body = door.answer(request.environ, flow_id, component_id)
    return Response(body, status, headers)


@routes.post("/flows/<flow_id>")
@operation(
    "Send a message to an in port of a running flow",
    tag="Flows",
    description="As if a step had sent it, without a mapping: `content` arrives as it is.",
    body={
        "type": "object",
        "properties": {"componentId": TEXT, "inputPort": TEXT, "content": {}},
        "required": ["componentId", "inputPort"],
    },
    answers={200: {"type": "object", "properties": {"flowId": TEXT, "correlationId": TEXT}}},
)
def inject(flow_id: str, body: dict[str, Any]) -> dict[str, Any]:
    platform().flows.get(flow_id, caller(), "start")
    depth = depth_of(request.environ)
    target = (flow_id, body["componentId"], body["inputPort"])
    correlation_id = platform().webhooks.inject(*target, body.get("content"), depth)
    return {"flowId": flow_id, "correlationId": correlation_id}
