"""Accounting records of a batch added up, one row for each execution they touch (design.md §4 "Executions")."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from engine.adapters.runlog.fields import MAX_SORTS, WINDOW
from engine.errors import BadRequest
from engine.model.execution import SORTS, ExecutionQuery
from engine.ports import Doc

COLUMNS = (
    "correlationId", "flowId", "run", "revision", "trigger", "started", "last", "open", "waits", "steps", "errors",
    "unprocessed", "failedAt", "reason", "replayOf",
)  # fmt: skip
"""`open`: messages created minus consumed; `waits`: 1 once something of it waited; `unprocessed`: messages nobody
tries again by himself; `reason`: why it was cancelled."""

AT = {name: position for position, name in enumerate(COLUMNS)}
Row = list[Any]


def row_of(record: Doc) -> Row:
    get, created = record.get, record["created"]
    return [
        record["correlationId"], record["flowId"], record["run"], record["revision"], get("trigger"), created, created,
        record["delta"], 1 if get("waits") else 0, record["steps"], get("errors", 0), get("unprocessed", 0),
        get("failedAt"), get("cancelled"), get("replayOf"),
    ]  # fmt: skip


def folded(records: Iterable[Doc]) -> list[Row]:
    """One row for each execution."""
    rows: dict[tuple[str, str], Row] = {}
    for record in records:
        row = row_of(record)
        before = rows.setdefault((row[0], row[1]), row)
        if before is not row:
            add(before, row)
    return list(rows.values())


def add(row: Row, more: Row) -> None:
    for name in ("open", "steps", "errors", "unprocessed"):
        row[AT[name]] += more[AT[name]]
    if more[AT["run"]] > row[AT["run"]]:  # a later run goes on with what the stop of an earlier one had ended
        row[AT["reason"]] = more[AT["reason"]]
    for name in ("trigger", "reason", "replayOf"):
        if row[AT[name]] is None:
            row[AT[name]] = more[AT[name]]
    if more[AT["failedAt"]] is not None:
        row[AT["failedAt"]] = more[AT["failedAt"]]
    for name in ("run", "last", "waits"):
        row[AT[name]] = max(row[AT[name]], more[AT[name]])
    row[AT["started"]] = min(row[AT["started"]], more[AT["started"]])


def check_page(query: ExecutionQuery) -> list[tuple[str, int]]:
    """The sort keys, the last of which is the correlation id. Raises BadRequest."""
    if query.limit < 0 or query.offset < 0:
        raise BadRequest("limit and offset must not be negative")
    wanted = query.offset + query.limit
    if wanted > WINDOW:
        raise BadRequest(f"offset + limit is {wanted}; beyond {WINDOW} page by time (from, to)")
    keys = list(query.sort) or [("started", -1)]
    if len(keys) > MAX_SORTS:
        raise BadRequest(f"sort by at most {MAX_SORTS} fields, not {len(keys)}")
    for name, _ in keys:
        if name not in SORTS:
            raise BadRequest(f"sort: executions can be sorted by {', '.join(SORTS)}, not by {name!r}")
    if all(name != "correlationId" for name, _ in keys):
        keys.append(("correlationId", keys[-1][1]))
    return keys
