"""Reading executions out of the months of the run log: filters, orders, pages and counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson

from engine.adapters.embedded import log_executions
from engine.adapters.embedded.log_month import LogMonth, MonthGone
from engine.adapters.embedded.log_query import compile_query
from engine.adapters.runlog.fields import COUNTED, READ_SECONDS
from engine.adapters.runlog.sums import COLUMNS, check_page
from engine.model.execution import SORTS, STATUSES, ExecutionQuery, ExecutionRow
from engine.model.message import earliest_id

_LATE = 10_000
"""Executions looked for by their records in a later month than their own: few go on that long."""

_ENDED = f"CASE WHEN {log_executions.OPEN} THEN NULL ELSE last END"
_KEYS = {"ended": _ENDED, **{name: f'"{name}"' for name in SORTS if name != "ended"}}

Sql = tuple[str, tuple[Any, ...]]


def find(months: Sequence[LogMonth], query: ExecutionQuery) -> list[ExecutionRow]:
    """The page of all months together, sorted."""
    keys = check_page(query)
    wanted = query.offset + query.limit
    order = ", ".join(f"{_KEYS[name]} {'DESC' if direction < 0 else 'ASC'}" for name, direction in keys)
    chosen = ", ".join(_KEYS[name] for name, _ in keys)
    found: list[tuple[Any, ...]] = []
    late = _late(months, query)
    for month in months:
        where, values = _where(month, query, late)
        index = _index(month, query, where, values)
        select = log_executions.SELECT.replace(" FROM", f", {chosen} FROM", 1)
        sql = f"{select} {index} WHERE {where} ORDER BY {order} LIMIT ?"
        found += _rows(month, sql, (*values, wanted))
    width = len(COLUMNS) + 1
    for position in reversed(range(len(keys))):  # stable: the last key first
        place = width + position
        found.sort(key=lambda row: (row[place] is not None, row[place]), reverse=keys[position][1] < 0)
    return [log_executions.row_of(row) for row in found[query.offset : wanted]]


def count(months: Sequence[LogMonth], query: ExecutionQuery) -> int:
    if "succeeded" in query.statuses and not query.text:
        # nearly all have: all are counted in an index, and so are those that have not
        rest = tuple(status for status in STATUSES if status not in query.statuses)
        everything = count(months, replace(query, statuses=()))
        return everything - (count(months, replace(query, statuses=rest)) if rest else 0)
    late = _late(months, query)
    total = 0
    for month in months:
        where, values = _where(month, query, late)
        sql = f"SELECT count(*) FROM execution WHERE {where}"  # noqa: S608 - our own fragments
        total += sum(number for (number,) in _rows(month, sql, values))
    return total


def waiting(months: Sequence[LogMonth], since: int, limit: int) -> list[ExecutionRow]:
    sql = f"{log_executions.SELECT} WHERE status = 'waiting' AND last >= ? ORDER BY last LIMIT ?"
    found = [log_executions.row_of(row) for month in months for row in _rows(month, sql, (since, limit))]
    return sorted(found, key=lambda row: row.last)[:limit]


def _rows(month: LogMonth, sql: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    try:
        with month.reading(READ_SECONDS) as connection:
            return [tuple(row) for row in connection.exec_driver_sql(sql, values)]
    except MonthGone:  # or made before there were executions
        return []


def _index(month: LogMonth, query: ExecutionQuery, where: str, values: tuple[Any, ...]) -> str:
    """Left to itself SQLite collects and sorts all executions of several flows; when there are many, walking in
    the order of time meets a page of them sooner."""
    by_time = not query.sort or query.sort[0][0] == "started"
    if not by_time or query.text or query.correlation_ids or (query.flow_ids is not None and len(query.flow_ids) == 1):
        return ""
    if query.statuses and "succeeded" not in query.statuses:
        return ""
    sql = f"SELECT count(*) FROM (SELECT 1 FROM execution WHERE {where} LIMIT ?)"  # noqa: S608
    many = any(number >= COUNTED for (number,) in _rows(month, sql, (*values, COUNTED)))
    return "INDEXED BY execution_started" if many else ""


# -- conditions


def _where(month: LogMonth, query: ExecutionQuery, late: Sequence[tuple[str, str]]) -> Sql:
    parts: list[Sql] = []
    if query.flow_ids is not None:
        parts.append(_one_of('"flowId"', query.flow_ids))
    if query.correlation_ids:
        parts.append(_one_of('"correlationId"', query.correlation_ids))
    if query.statuses:
        parts.append(_one_of("status", query.statuses))
        if "succeeded" not in query.statuses:
            parts.append(("status <> 'succeeded'", ()))  # says that the partial index fits
    if query.since is not None:
        parts.append(("started >= ?", (query.since,)))
    if query.until is not None:
        parts.append(("started <= ?", (query.until,)))
    if query.text:
        parts.append(_with_text(query, late))
    if not parts:
        return "1", ()
    return " AND ".join(sql for sql, _ in parts), tuple(value for _, values in parts for value in values)


def _one_of(column: str, values: Sequence[str]) -> Sql:
    if len(values) == 1:
        return f"{column} = ?", tuple(values)
    return f"{column} IN (SELECT value FROM json_each(?))", (orjson.dumps(list(values)).decode(),)  # noqa: S608


def _log_condition(query: ExecutionQuery) -> Sql:
    condition = compile_query(query.text)
    if query.flow_ids is None:
        return condition.sql, condition.values
    flows, values = _one_of('log."flowId"', query.flow_ids)
    return f"{flows} AND {condition.sql}", (*values, *condition.values)


def _with_text(query: ExecutionQuery, late: Sequence[tuple[str, str]]) -> Sql:
    """Executions with a record in this month that the text finds, or in a later one (`late`)."""
    sql, values = _log_condition(query)
    pairs = f'SELECT log."correlationId", log."flowId" FROM log WHERE {sql}'  # noqa: S608
    if late:
        pairs += " UNION ALL SELECT value ->> 0, value ->> 1 FROM json_each(?)"
        values = (*values, orjson.dumps(late).decode())
    return f'("correlationId", "flowId") IN ({pairs})', values


def _late(months: Sequence[LogMonth], query: ExecutionQuery) -> list[tuple[str, str]]:
    """(correlation id, flow id) of executions older than the month that holds a record the text finds."""
    if not query.text:
        return []
    sql, values = _log_condition(query)
    select = f'SELECT DISTINCT log."correlationId", log."flowId" FROM log WHERE {sql}'  # noqa: S608
    found: set[tuple[str, str]] = set()
    for month in months[1:]:
        rows = _rows(
            month, f'{select} AND log."correlationId" < ? LIMIT ?', (*values, earliest_id(month.span[0]), _LATE)
        )
        found.update((correlation_id, flow_id) for correlation_id, flow_id in rows)
    return sorted(found)
