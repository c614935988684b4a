"""Flows and their coordinator (rest-api.md §3)."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, request

from engine.errors import BadRequest
from engine.ports import Doc, Query
from engine.rules.acl import PERMISSIONS
from engine.services.flow_record import SCHEMA, public_flow
from engine.services.listing import parse_list
from webapp.current import platform
from webapp.openapi import COUNT, LIST_PARAMS, TEXT, Param, operation
from webapp.session import caller

routes = Blueprint("flows", __name__)

FLOW_ID = {"type": "object", "properties": {"flowId": TEXT}, "required": ["flowId"]}
SAVED = {"type": "object", "properties": {"flowId": TEXT, "result": TEXT}}
FLOW = {"type": "object", "properties": {**SCHEMA["properties"], "flowId": TEXT, "userId": TEXT, "stage": TEXT}}
SHARED = Param(
    "sharedWithPermissions", "Of flows shared with you, only those that give all these permissions: `read,start`."
)
PROJECTION = (LIST_PARAMS[4],)


@routes.get("/flows")
@operation(
    "List own and shared flows",
    tag="Flows",
    query=(*LIST_PARAMS, SHARED),
    description="Newest change first unless sorted. `pattern` also matches the flow's id. "
    "With `filter=userId:…` an administrator reaches everybody's flows.",
    answers={200: {"type": "array", "items": FLOW}},
)
def find() -> list[dict[str, Any]]:
    query, who = _query(), caller()
    flows = platform().flows.list(query, who, _shared_for())
    return [public_flow(flow, who, query.include, query.exclude) for flow in flows]


@routes.get("/flows/count")
@operation("Count own and shared flows", tag="Flows", query=(*LIST_PARAMS[3:], SHARED), answers={200: COUNT})
def count() -> dict[str, int]:
    return {"count": platform().flows.count(_query(), caller(), _shared_for())}


@routes.post("/flows")
@operation("Create a flow", tag="Flows", body=SCHEMA, answers={200: FLOW_ID})
def create(body: dict[str, Any]) -> Response:
    record = platform().flows.create(body, caller())
    return _with_etag({"flowId": record["_id"]}, record)


@routes.get("/flows/<flow_id>")
@operation(
    "One flow",
    tag="Flows",
    query=PROJECTION,
    description="The header ETag names the revision; send it back as If-Match when saving.",
    answers={200: FLOW},
)
def get(flow_id: str) -> Response:
    who = caller()
    record = platform().flows.get(flow_id, who)
    query = _query()
    return _with_etag(public_flow(record, who, query.include, query.exclude), record)


@routes.put("/flows/<flow_id>")
@operation(
    "Save a flow",
    tag="Flows",
    query=(Param("forceUpdate", "Save although the flow is running.", "boolean"),),
    description="Changes the given fields; creates the flow when there is none. With If-Match and another "
    "revision: 412 and `revision`, `mtime` and `by` of the newer one. A running flow: 409.",
    body=SCHEMA,
    answers={200: SAVED},
)
def save(flow_id: str, body: dict[str, Any]) -> Response:
    record = platform().flows.save(
        flow_id, body, caller(), if_match=_if_match(), force=_truth(request.args.get("forceUpdate"))
    )
    return _with_etag({"flowId": flow_id, "result": "updated"}, record)


@routes.put("/flows/<flow_id>/thumbnail")
@operation(
    "Set a flow's picture",
    tag="Flows",
    body={"type": "object", "properties": {"thumbnail": SCHEMA["properties"]["thumbnail"]}, "required": ["thumbnail"]},
    answers={200: SAVED},
)
def set_thumbnail(flow_id: str, body: dict[str, Any]) -> Response:
    platform().flows.get(flow_id, caller(), "write")
    record = platform().flows.save(flow_id, {"thumbnail": body["thumbnail"]}, caller())
    return _with_etag({"flowId": flow_id, "result": "updated"}, record)


@routes.delete("/flows/<flow_id>")
@operation("Stop and delete a flow with all that belongs to it", tag="Flows", answers={200: FLOW_ID})
def delete(flow_id: str) -> dict[str, str]:
    platform().flows.delete(flow_id, caller())
    return {"flowId": flow_id}


@routes.post("/flows/<flow_id>/clone")
@operation(
    "Copy a flow",
    tag="Flows",
    body={
        "type": "object",
        "properties": {
            "prefix": {"type": ["string", "null"]},
            "projection": {"type": ["string", "null"]},
            "connectAccounts": {"type": "boolean"},
            "isTemplateInstance": {"type": "boolean"},
            "setOriginFlowId": {"type": "boolean"},
            "setComponentIdMap": {"type": "boolean"},
            "additional": {**SCHEMA, "type": ["object", "null"]},
        },
    },
    answers={200: {"type": "object", "properties": {"cloneId": TEXT}}},
)
def clone(flow_id: str, body: dict[str, Any]) -> dict[str, str]:
    return {"cloneId": platform().flows.clone(flow_id, caller(), body)["_id"]}


PROBLEMS = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"componentId": TEXT, "path": TEXT, "keyword": TEXT, "message": TEXT},
    },
}


@routes.get("/flows/<flow_id>/validate")
@operation(
    "What keeps a flow from starting, and what it hardly means",
    tag="Flows",
    description="`warnings` keep nothing from starting: variables that will be empty, because they read a step that "
    "is disabled, gone, or not on the way.",
    answers={200: {"type": "object", "properties": {"errors": PROBLEMS, "warnings": PROBLEMS}}},
)
def validate(flow_id: str) -> dict[str, Any]:
    flows, by = platform().flows, caller()
    return {"errors": list(flows.problems(flow_id, by)), "warnings": list(flows.warnings(flow_id, by))}


@routes.post("/flows/<flow_id>/coordinator")
@operation(
    "Start or stop a flow",
    tag="Flows",
    query=(Param("background", "Only for stop: do not wait until it is done.", "boolean"),),
    body={
        "type": "object",
        "properties": {"command": {"enum": ["start", "stop"]}, "background": {"type": "boolean"}},
        "required": ["command"],
    },
    answers={200: {"type": "object", "properties": {"flowId": TEXT, "ticket": TEXT}}},
)
def coordinate(flow_id: str, body: dict[str, Any]) -> dict[str, Any]:
    command = body["command"]
    platform().flows.get(flow_id, caller(), command)
    if command == "start":
        return platform().lifecycle.start(flow_id)
    background = body.get("background", _truth(request.args.get("background")))
    return platform().lifecycle.stop(flow_id, background=background)


@routes.get("/flows/<flow_id>/coordinator/status")
@operation(
    "Whether a start or stop is done",
    tag="Flows",
    answers={200: {"type": "object", "properties": {"status": TEXT, "stage": TEXT, "stepsTotal": {"type": "integer"}}}},
)
def coordinator_status(flow_id: str) -> dict[str, Any]:
    stage = platform().flows.get(flow_id, caller())["stage"]
    done = stage in ("running", "stopped")
    return {"status": "completed" if done else "in-progress", "stage": stage, "stepsTotal": 1}


def _query() -> Query:
    return parse_list(request.args, pattern_fields=("search",), renames={"flowId": "_id"})


def _shared_for() -> tuple[str, ...]:
    wanted = tuple(p.strip() for p in request.args.get("sharedWithPermissions", "").split(",") if p.strip())
    if unknown := [p for p in wanted if p not in PERMISSIONS]:
        raise BadRequest(f"sharedWithPermissions: {unknown[0]!r} is none of {', '.join(PERMISSIONS)}")
    return wanted


def _with_etag(body: dict[str, Any], record: Doc) -> Response:
    response = jsonify(body)
    response.set_etag(str(record["revision"]))
    return response


def _if_match() -> int | None:
    """The revision the client started from; -1, which none has, for a tag we never gave."""
    if not request.if_match or request.if_match.star_tag:
        return None
    tag = next(iter(request.if_match.as_set(include_weak=True)), "") or ""
    return int(tag) if tag.isdecimal() else -1


def _truth(text: str | None) -> bool:
    return text is not None and text.lower() in ("", "1", "true", "yes")
