"""Reading executions out of MongoDB: filters, orders, pages and counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

from pymongo import errors
from pymongo.collection import Collection as Table

from engine.adapters.mongo.connection import translated
from engine.adapters.runlog.fields import READ_SECONDS
from engine.adapters.runlog.sums import check_page
from engine.errors import TimedOut
from engine.model.execution import STATUSES, ExecutionQuery, ExecutionRow
from engine.ports import Doc

Pair = tuple[str, str]
"""Correlation id and flow id."""

Having = Callable[[Sequence[Pair]], set[Pair]]
Filter = dict[str, Any]

AT_ONCE = 500
_TOO_LONG = f"The search took longer than {READ_SECONDS:.0f} s; narrow it by flow, time or words."


def key_of(correlation_id: str, flow_id: str) -> str:
    """The id of an execution's document. Those of one correlation id stand together."""
    return f"{correlation_id}\0{flow_id}"


def find(
    table: Table[Doc], query: ExecutionQuery, among: Collection[Pair] | None, having: Having | None
) -> list[ExecutionRow]:
    """Raises BadRequest, TimedOut, Unavailable."""
    keys = check_page(query)
    if not query.limit or (among is not None and not among):
        return []
    with _in_time():
        cursor = table.find(_filter(query, among), max_time_ms=int(READ_SECONDS * 1000), sort=keys)
        cursor = cursor.allow_disk_use(True)
        if having is None:
            return [_row(doc) for doc in cursor.skip(query.offset).limit(query.limit)]
        matching = _having(cursor.batch_size(AT_ONCE), having)
        return [_row(doc) for doc in islice(matching, query.offset, query.offset + query.limit)]


def count(table: Table[Doc], query: ExecutionQuery, among: Collection[Pair] | None, having: Having | None) -> int:
    """Raises as `find`."""
    if among is not None and not among:
        return 0
    if "succeeded" in query.statuses and having is None and among is None:
        # nearly all have: all are counted in an index, and so are those that have not
        rest = tuple(status for status in STATUSES if status not in query.statuses)
        everything = count(table, replace(query, statuses=()), None, None)
        return everything - (count(table, replace(query, statuses=rest), None, None) if rest else 0)
    with _in_time():
        condition = _filter(query, among)
        if having is None:
            return table.count_documents(condition, maxTimeMS=int(READ_SECONDS * 1000))
        names = {"correlationId": 1, "flowId": 1}
        return sum(1 for _ in _having(table.find(condition, names).batch_size(AT_ONCE), having))


def waiting(table: Table[Doc], since: int, limit: int) -> list[ExecutionRow]:
    if limit <= 0:
        return []
    with _in_time():
        found = table.find({"other": "waiting", "last": {"$gte": since}}, sort=[("last", 1)], limit=limit)
        return [_row(doc) for doc in found]


@contextmanager
def _in_time() -> Iterator[None]:
    with translated("executions"):
        try:
            yield
        except errors.ExecutionTimeout as error:
            raise TimedOut(_TOO_LONG) from error


def _having(docs: Iterable[Doc], having: Having) -> Iterator[Doc]:
    """Those that have; asked in pieces, in order. Raises TimedOut."""
    limit = time.monotonic() + READ_SECONDS
    rest = iter(docs)
    while piece := list(islice(rest, AT_ONCE)):
        if time.monotonic() > limit:
            raise TimedOut(_TOO_LONG)
        found = having([(doc["correlationId"], doc["flowId"]) for doc in piece])
        yield from (doc for doc in piece if (doc["correlationId"], doc["flowId"]) in found)


def _filter(query: ExecutionQuery, among: Collection[Pair] | None) -> Filter:
    parts: list[Filter] = []
    if query.flow_ids is not None:
        parts.append({"flowId": query.flow_ids[0] if len(query.flow_ids) == 1 else {"$in": list(query.flow_ids)}})
    if query.correlation_ids:
        # by their places in the index of ids, and exactly: an id may hold the separator
        parts.append({"$or": [{"_id": {"$gte": f"{one}\0", "$lt": f"{one}\1"}} for one in query.correlation_ids]})
        parts.append({"correlationId": {"$in": list(query.correlation_ids)}})
    if query.statuses:
        name = "status" if "succeeded" in query.statuses else "other"
        parts.append({name: {"$in": list(query.statuses)}})
    span = {name: at for name, at in (("$gte", query.since), ("$lte", query.until)) if at is not None}
    if span:
        parts.append({"started": span})
    if among is not None:
        parts.append({"_id": {"$in": [key_of(*pair) for pair in among]}})
    return {"$and": parts} if parts else {}


def _row(doc: Doc) -> ExecutionRow:
    return ExecutionRow(
        correlation_id=doc["correlationId"],
        flow_id=doc["flowId"],
        run=doc["run"],
        revision=doc["revision"],
        trigger=doc.get("trigger"),
        status=doc["status"],
        started=doc["started"],
        last=doc["last"],
        steps=doc["steps"],
        errors=doc["errors"],
        failed_at=doc.get("failedAt"),
        reason=doc.get("reason"),
        replay_of=doc.get("replayOf"),
    )
