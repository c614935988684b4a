"""Executions of one month of the run log: sums of accounting records, kept beside the records (design.md §4).

An execution lives in the month its correlation id was made in, whichever months its records are in, so one
row tells all of it. A batch of accounting records becomes one row for each execution it touches, in the
transaction that stores the ids of the records counted: appending a batch again adds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import orjson
import sqlalchemy as sa

from engine.adapters.runlog.sums import COLUMNS, folded
from engine.model.execution import ExecutionRow
from engine.model.message import earliest_id
from engine.ports import Doc

_TEXTS = frozenset(("correlationId", "flowId", "trigger", "failedAt", "reason", "replayOf"))
_NEEDED = frozenset(COLUMNS) - {"trigger", "failedAt", "reason", "replayOf"}
_STATUS = (
    "CASE WHEN reason IS NOT NULL THEN 'cancelled' WHEN open <> 0 THEN 'running' WHEN waits THEN 'waiting'"
    " WHEN unprocessed > 0 THEN 'failed' ELSE 'succeeded' END"
)

OPEN = "status IN ('running', 'waiting')"

metadata = sa.MetaData()
_table = sa.Table(
    "execution",
    metadata,
    sa.Column("rowid", sa.Integer, primary_key=True),
    *(sa.Column(name, sa.Text() if name in _TEXTS else sa.Integer(), nullable=name not in _NEEDED) for name in COLUMNS),
    sa.Column("status", sa.Text(), sa.Computed(_STATUS, persisted=False)),
)
sa.Index("execution_id", _table.c.correlationId, _table.c.flowId, unique=True)
sa.Index("execution_flow", _table.c.flowId, _table.c.started)
sa.Index("execution_started", _table.c.started)
# Most executions succeed at once and are in neither of these.
sa.Index(
    "execution_other",
    _table.c.status,
    _table.c.flowId,
    _table.c.started,
    sqlite_where=sa.text("status <> 'succeeded'"),
)
sa.Index("execution_waiting", _table.c.last, sqlite_where=sa.text("status = 'waiting'"))
sa.Table("counted", metadata, sa.Column("id", sa.Text(), primary_key=True), sqlite_with_rowid=False)

_MERGE = """
 ON CONFLICT ("correlationId", "flowId") DO UPDATE SET
  reason = CASE WHEN excluded.run > run THEN excluded.reason
                WHEN excluded.run = run AND reason IS NULL AND status IN ('running', 'waiting') THEN excluded.reason
                ELSE reason END,
  run = max(run, excluded.run), trigger = coalesce(trigger, excluded.trigger),
  started = min(started, excluded.started), last = max(last, excluded.last), open = open + excluded.open,
  waits = max(waits, excluded.waits), steps = steps + excluded.steps, errors = errors + excluded.errors,
  unprocessed = unprocessed + excluded.unprocessed, "failedAt" = coalesce(excluded."failedAt", "failedAt"),
  "replayOf" = coalesce("replayOf", excluded."replayOf")
"""
_NAMES = ", ".join(f'"{name}"' for name in COLUMNS)
_ROW = f"({', '.join('?' * len(COLUMNS))})"
_CHUNKS = (128, 16, 1)
_MERGES = {n: f"INSERT INTO execution ({_NAMES}) VALUES {', '.join([_ROW] * n)}{_MERGE}" for n in _CHUNKS}  # noqa: S608
_COUNTED = {n: f"INSERT INTO counted VALUES {', '.join(['(?)'] * n)}" for n in _CHUNKS}  # noqa: S608
_KNOWN = "SELECT id FROM counted WHERE id IN (SELECT value FROM json_each(?))"
_STOP = (
    f'UPDATE execution SET reason = ?, last = max(last, ?) WHERE "flowId" = ? AND run <= ? AND {OPEN}'  # noqa: S608
    " AND status <> 'succeeded'"
)
_CONCLUDE = (
    "UPDATE execution SET waits = 0"
    " FROM (SELECT value ->> 0 AS c, value ->> 1 AS f, value ->> 2 AS l FROM json_each(?)) AS told"
    ' WHERE execution."correlationId" = told.c AND execution."flowId" = told.f AND execution.last = told.l'
    " AND execution.status = 'waiting'"
)

SELECT = f"SELECT {_NAMES}, status FROM execution"  # noqa: S608
_SELECTED = {name: position for position, name in enumerate((*COLUMNS, "status"))}


# -- writing


def count(connection: sa.Connection, records: Sequence[Doc]) -> None:
    """Add accounting records (type "delivery") that were not added before."""
    fresh = {record["id"]: record for record in records}
    known = connection.exec_driver_sql(_KNOWN, (orjson.dumps(list(fresh)).decode(),))
    for (id_,) in known.all():
        del fresh[id_]
    _in_chunks(connection, _COUNTED, [(id_,) for id_ in fresh])
    _in_chunks(connection, _MERGES, folded(fresh.values()))


def _in_chunks(connection: sa.Connection, statements: dict[int, str], rows: Sequence[Sequence[Any]]) -> None:
    """Few statements of many rows, see `log_month`."""
    start = 0
    for size in _CHUNKS:
        while start + size <= len(rows):
            connection.exec_driver_sql(statements[size], tuple(chain.from_iterable(rows[start : start + size])))
            start += size


def stop_flow(connection: sa.Connection, record: Doc) -> None:
    """A run ended (type "flow-stopped"): what is open of it, and of runs before, is cancelled."""
    connection.exec_driver_sql(_STOP, (record["reason"], record["created"], record["flowId"], record["run"]))


def conclude(connection: sa.Connection, rows: Sequence[ExecutionRow]) -> None:
    told = [(row.correlation_id, row.flow_id, row.last) for row in rows]
    connection.exec_driver_sql(_CONCLUDE, (orjson.dumps(told).decode(),))


def delete(connection: sa.Connection, before_ms: int | None, flow_ids: Sequence[str], limit: int) -> int:
    """Delete up to `limit` of those without a record since `before_ms`, and ids counted; the number deleted.

    A batch is appended again within minutes, so the ids of messages of before `before_ms` are needed no more.
    """
    parts: list[str] = ["1"]
    values: list[int | str] = []
    if before_ms is not None:
        parts.append("started < ? AND last < ?")
        values += [before_ms, before_ms]
    if flow_ids:
        parts.append('"flowId" IN (SELECT value FROM json_each(?))')
        values.append(orjson.dumps(list(flow_ids)).decode())
    chosen = f"SELECT rowid FROM execution WHERE {' AND '.join(parts)} LIMIT ?"  # noqa: S608
    done = connection.exec_driver_sql(f"DELETE FROM execution WHERE rowid IN ({chosen})", (*values, limit))  # noqa: S608
    if before_ms is None or flow_ids:
        return done.rowcount
    old = "SELECT id FROM counted WHERE id < ? LIMIT ?"
    spent = connection.exec_driver_sql(f"DELETE FROM counted WHERE id IN ({old})", (earliest_id(before_ms), limit))  # noqa: S608
    return done.rowcount + spent.rowcount


# -- reading


def row_of(values: Sequence[Any]) -> ExecutionRow:
    """Of what `SELECT` yields."""
    at = {name: values[position] for name, position in _SELECTED.items()}
    return ExecutionRow(
        correlation_id=at["correlationId"],
        flow_id=at["flowId"],
        run=at["run"],
        revision=at["revision"],
        trigger=at["trigger"],
        status=at["status"],
        started=at["started"],
        last=at["last"],
        steps=at["steps"],
        errors=at["errors"],
        failed_at=at["failedAt"],
        reason=at["reason"],
        replay_of=at["replayOf"],
    )
