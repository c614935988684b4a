"""Executions (issue "Nothing lost, nothing doubled, nothing unbounded")."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request

from engine.model.execution import SORTS, STATUSES
from engine.ports import Doc
from engine.services.executions import ExecutionRequest
from engine.services.listing import parse_list
from webapp.current import platform
from webapp.openapi import COUNT, LIST_PARAMS, OBJECT, TEXT, Param, Schema, operation
from webapp.session import caller

TAG = "Executions"
NULLABLE: Schema = {"type": ["string", "null"]}
FIELDS: dict[str, Schema] = {
    "correlationId": TEXT,
    "flowId": TEXT,
    "revision": {"type": "integer", "description": "The flow's, when it began."},
    "trigger": {**NULLABLE, "description": "Id of the component it began with."},
    "status": {"enum": list(STATUSES)},
    "started": TEXT,
    "ended": {**NULLABLE, "description": "null while it runs or waits."},
    "steps": {"type": "integer", "description": "Steps executed, tries included."},
    "errors": {"type": "integer", "description": "Tries that failed."},
    "failedAt": {**NULLABLE, "description": "Id of the component that failed last, unless it succeeded later."},
    "reason": {**NULLABLE, "description": "Why it was cancelled."},
    "replayOf": {**NULLABLE, "description": "The execution it plays again."},
}
EXECUTION: Schema = {"type": "object", "properties": FIELDS}
STEP: Schema = {
    "type": "object",
    "properties": {
        "componentId": TEXT,
        "componentType": TEXT,
        "label": TEXT,
        "messageId": TEXT,
        "attempt": {"type": "integer", "description": "0 for the first try."},
        "started": TEXT,
        "duration": {"type": ["integer", "null"], "description": "Milliseconds; null for a trigger."},
        "input": {"type": ["object", "null"], "description": "{port, content}; `cut` when only a part was kept."},
        "output": {"type": "array", "items": OBJECT, "description": "[{port, content}]"},
        "error": {"description": "What went wrong, or null."},
        "log": {"type": "array", "items": OBJECT, "description": "[{level, content}] the step wrote itself."},
    },
}
DETAIL: Schema = {
    "type": "object",
    "properties": {
        **FIELDS,
        "steps": {"type": "array", "items": STEP, "description": "In the order they began."},
        "stepsTotal": {"type": "integer", "description": "How many there are, on this page or not."},
    },
}
FILTERS = (
    Param("flowId", "Of these flows only.", repeat=True),
    Param("status", f"With one of these: {', '.join(STATUSES)}.", repeat=True),
    Param("from", "Begun at this time or later: ISO text or epoch milliseconds."),
    Param("to", "Begun at this time or earlier."),
    Param("text", "With a run log record that this finds; a query as for GET /logs."),
)
PAGED = LIST_PARAMS[:2]

routes = Blueprint("executions", __name__)


@routes.get("/executions")
@operation(
    "List executions of your own and of shared flows",
    tag=TAG,
    query=(*FILTERS, *PAGED, Param("sort", f"One of {', '.join(SORTS)} and a direction, as in `started:-1`.")),
    description="Latest first unless sorted. One that has just begun or ended shows within about a second.",
    answers={200: {"type": "array", "items": EXECUTION}},
)
def find() -> list[Doc]:
    return platform().executions.list(caller(), _request())


@routes.get("/executions/count")
@operation("Count executions of your own and of shared flows", tag=TAG, query=FILTERS, answers={200: COUNT})
def count() -> dict[str, int]:
    return {"count": platform().executions.count(caller(), _request())}


@routes.get("/executions/<correlation_id>")
@operation(
    "One execution with its steps",
    tag=TAG,
    query=PAGED,
    description="`limit` and `offset` page through the steps.",
    answers={200: DETAIL},
)
def get(correlation_id: str) -> Doc:
    page = parse_list(request.args, pattern_fields=(), renames={})
    limit = page.limit if page.limit is not None else 100
    return platform().executions.get(caller(), correlation_id, limit=limit, offset=page.offset)


@routes.post("/executions/<correlation_id>/cancel")
@operation(
    "Let no further step of an execution begin",
    tag=TAG,
    description="Steps that run are finished. Its waiting messages become unprocessed messages, its timers go. "
    "An execution that has ended: 409.",
    answers={200: EXECUTION},
)
def cancel(correlation_id: str) -> Doc:
    return platform().executions.cancel(caller(), correlation_id)


@routes.post("/executions/<correlation_id>/replay")
@operation(
    "Play an execution again",
    tag=TAG,
    body={
        "type": "object",
        "properties": {
            "componentId": {**NULLABLE, "description": "Begin with what came to this step; the trigger when absent."},
            "allowMasked": {"type": "boolean", "description": "Take `[masked]` where the run log keeps no secret."},
            "revision": {"enum": ["original", "newest"], "description": "Of the flow; newest when absent."},
        },
    },
    description="A new execution gets the recorded messages. A trigger does not run again: what it sent is sent "
    "again. The flow must run. What the run log did not keep whole is an error.",
    answers={200: {"type": "object", "properties": {"correlationId": TEXT, "replayOf": TEXT}}},
)
def replay(correlation_id: str, body: dict[str, Any]) -> Doc:
    return platform().executions.replay(
        caller(),
        correlation_id,
        body.get("componentId"),
        revision=body.get("revision", "newest"),
        allow_masked=body.get("allowMasked", False),
    )


def _request() -> ExecutionRequest:
    args = request.args
    page = parse_list(args, pattern_fields=(), renames={})
    return ExecutionRequest(
        flow_ids=args.getlist("flowId"),
        statuses=[status for given in args.getlist("status") for status in given.split(",") if status],
        since=args.get("from", ""),
        until=args.get("to", ""),
        text=args.get("text", ""),
        sort=page.sort,
        limit=page.limit if page.limit is not None else 100,
        offset=page.offset,
    )
