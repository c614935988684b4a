"""The flow record: what may be written to it, what is shown of it (rest-api.md §3). No storage here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jsonschema_rs
import orjson

from engine.errors import BadRequest, TooLarge
from engine.model.flow import read_descriptor
from engine.model.times import iso
from engine.ports import Doc
from engine.rules.acl import Caller, check_shares, visible_shares

_TEXT = {"type": ["string", "null"]}
_OBJECT = {"type": ["object", "null"]}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "Other fields, such as those only the server sets, are ignored.",
    "properties": {
        "name": {"type": "string", "maxLength": 1000},
        "description": _TEXT,
        "type": {"type": ["string", "null"], "maxLength": 100},
        "flow": {"type": "object", "description": "Component id → component."},
        "customFields": _OBJECT,
        "sharedWith": {"type": ["array", "null"], "items": {"type": "object"}},
        "thumbnail": _TEXT,
        "wizard": _OBJECT,
        "notes": {},
        "mode": _TEXT,
        "originFlowId": _TEXT,
        "templateId": _TEXT,
        "componentIdMap": _OBJECT,
        "payloads": {
            "enum": ["always", "errors", "never", None],
            "description": "Which contents the run log keeps: all, those of failed tries, or none.",
        },
        "unlinked": {**_OBJECT, "description": "Values of in ports without a link."},
        "maxConcurrency": {
            "type": ["integer", "null"],
            "minimum": 1,
            "description": "How many of the flow's messages may be at work at a time; 1: one after the other.",
        },
        "accounts": {
            "type": ["object", "null"],
            "description": "Component id → account id.",
            "additionalProperties": _TEXT,
        },
    },
}
WRITABLE = tuple(SCHEMA["properties"])
TIMES = ("btime", "mtime", "started", "stopped")
SHOWN = ("userId", "stage", "stageChangeInfo", "runtimeErrors", *TIMES, *WRITABLE)
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

_validator = jsonschema_rs.validator_for(SCHEMA, mask="the value")


def read_changes(body: Any, limit: int) -> dict[str, Any]:
    """The writable fields of a request, checked and in their stored form; None means "remove".

    An unfinished flow passes, one of the wrong shape does not. Raises BadRequest naming each
    wrong field by its path, TooLarge when the descriptor or the rest exceeds `limit` bytes.
    """
    for error in _validator.iter_errors(body):
        path = ".".join(str(step) for step in error.instance_path)
        raise BadRequest(
            f"{path or 'flow record'}: {error.message}", details=[{"path": path, "message": error.message}]
        )
    changes = {name: body[name] for name in WRITABLE if name in body}
    if changes.get("sharedWith") is not None:
        changes["sharedWith"] = check_shares(changes["sharedWith"])
    if "flow" in changes:
        read_descriptor(changes["flow"])
        check_ids(changes["flow"])
    rest = {name: value for name, value in changes.items() if name != "flow"}
    for what, value in (("the flow's descriptor", changes.get("flow")), ("the flow's record", rest)):
        try:
            size = len(orjson.dumps(value))
        except TypeError as error:  # deeper than 254 levels, or not JSON at all
            raise BadRequest(f"{what} cannot be stored: {error}") from error
        if size > limit:
            raise TooLarge(f"{what} has {size} bytes, at most {limit} are allowed (HEADRACE_FLOW_BYTES)")
    return changes


def check_ids(flow: Mapping[str, Any]) -> None:
    """Component ids become parts of addresses and paths. Raises BadRequest."""
    for cid in flow:
        if not ID.fullmatch(cid):
            message = "a component's id may have up to 64 letters, digits, - and _"
            raise BadRequest(f"flow.{cid[:80]}: {message}", details=[{"path": f"flow.{cid}", "message": message}])


def derived(record: Mapping[str, Any]) -> dict[str, Any]:
    """What is stored beside the record so that lists find it: see `engine.model.collections`."""
    return {
        "search": f"{record.get('name', '')}\n{record['_id']}",
        "shared": 1 if record.get("sharedWith") else None,
    }


def public_flow(
    record: Doc, caller: Caller, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The record as the API tells it to this caller; `include` or `exclude` as in `projection`."""
    wanted = [n for n in SHOWN if n in record and (not include or n in include) and n not in exclude]
    told = {name: record[name] for name in wanted}
    for name in TIMES:
        if told.get(name) is not None:
            told[name] = iso(told[name])
    if "sharedWith" in told:
        told["sharedWith"] = visible_shares(record, caller)
    return {"flowId": record["_id"], **told}
