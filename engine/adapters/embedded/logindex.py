"""The run log on SQLite: one file a month, searched together (design.md §3, rest-api.md §7).

A search asks the months one after another and stops when the page is full if it is sorted by time
(months do not overlap); any other order takes the first page of each month and merges them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from engine.adapters.embedded import log_execution_read
from engine.adapters.embedded.log_month import LogMonth
from engine.adapters.embedded.log_query import Condition, compile_query
from engine.adapters.embedded.log_read import Hit, Key, after, count_up_to, fetch, histogram, sort_keys
from engine.adapters.runlog.fields import COUNTED, by_month, check_window, month_name, month_span, trim
from engine.errors import TimedOut
from engine.model.execution import ACCOUNTING, ExecutionQuery, ExecutionRow
from engine.model.log import LogPage, LogQuery
from engine.model.message import made_at
from engine.ports import Doc

log = logging.getLogger(__name__)

OLDEST_HOME = 400 * 86_400_000
"""Ids that name an earlier time than this before a record's own were not made by us at that time."""

PAUSE = 0.01
"""Seconds between two batches of a deletion, so that a thread that appends gets its turn."""


class SqliteLogIndex:
    """`ports.LogIndex` over files `log-YYYYMM.db` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writing = threading.Lock()
        self._months: dict[str, LogMonth] = {}
        for path in folder.glob("log-??????.db"):
            name = path.stem.removeprefix("log-")
            if name.isdigit():
                self._months[name] = LogMonth(folder, name)

    def checked(self) -> SqliteLogIndex:
        """The same, after every month was opened once. Raises Unavailable naming one that is damaged."""
        for month in self._oldest_first():
            month.check()
        return self

    def append(self, records: Sequence[Doc]) -> None:
        shown = [record for record in records if record.get("type") not in ACCOUNTING]
        deliveries: dict[str, list[Doc]] = {}
        stops = []
        if len(shown) < len(records):
            deliveries = _by_home(record for record in records if record.get("type") == "delivery")
            stops = [record for record in records if record.get("type") == "flow-stopped"]
        batches = by_month(shown)
        with self._writing:
            for name in sorted({*batches, *deliveries}):
                month = self._months.get(name) or LogMonth(self.folder, name)
                month.append(batches.get(name, ()), deliveries.get(name, ()))
                self._add(month)
            for record in stops:
                for month in self._months.values():
                    month.stop_flow(record)

    def _add(self, month: LogMonth) -> None:
        if month.name not in self._months:
            self._months = {**self._months, month.name: month}  # readers may be walking the old one

    def search(self, query: LogQuery) -> LogPage:
        check_window(query)
        keys = sort_keys(query.sort)
        condition = _scope(compile_query(query.query), query)
        if query.flow_ids is not None and not query.flow_ids:
            return LogPage([], [], 0)
        months = self._matching(condition)
        buckets: list[Doc] = []
        total = COUNTED
        if query.buckets:
            try:
                buckets = histogram(months, condition)
                total = sum(bucket["doc_count"] for bucket in buckets)
            except TimedOut:
                log.info("histogram left out", extra={"action": "log_histogram_late", "query": query.query})
        else:
            total = count_up_to(months, condition)
        return LogPage(self._page(months, condition, keys, query, total) if total else [], buckets, total)

    def _matching(self, condition: Condition) -> list[LogMonth]:
        """The months that can hold a match, oldest first."""
        chosen = []
        for name, month in sorted(self._months.items()):
            start, end = month_span(name)
            if (condition.low is None or end > condition.low) and (condition.high is None or start <= condition.high):
                chosen.append(month)
        return chosen

    def _page(
        self, months: list[LogMonth], condition: Condition, keys: list[Key], query: LogQuery, total: int
    ) -> list[Doc]:
        first = keys[0]
        index = ""
        if first.is_time and total >= COUNTED:
            # So many match that walking in the order of time meets a page of them soon; left to itself
            # SQLite collects and sorts them all.
            alone = query.flow_ids is not None and len(query.flow_ids) == 1
            index = "INDEXED BY log_flow" if alone else "INDEXED BY log_created"
        if query.search_after:
            condition = _both(condition, after(keys, query.search_after, len(query.sort)))
            inside = {month.name for month in self._matching(condition)}
            months = [month for month in months if month.name in inside]
        wanted = query.offset + query.size
        hits: list[Hit] = []
        for month in reversed(months) if first.descending else months:
            if first.is_time and len(hits) >= wanted:
                break
            limit = wanted - len(hits) if first.is_time else wanted
            hits += fetch(month, condition, keys, limit, index, query.includes)
        if not first.is_time:
            for position in reversed(range(len(keys))):  # stable: the last key first
                hits.sort(key=lambda hit: hit.keys[position], reverse=keys[position].descending)
        return [trim(hit.doc, query) for hit in hits[query.offset : wanted]]

    def get(self, id: str) -> Doc | None:
        key = [Key("_id", "log.id", (), False, False)]
        for _, month in sorted(self._months.items(), reverse=True):
            for hit in fetch(month, Condition("log.id = ?", (id,)), key, 1):
                hit.doc.pop("sort")
                return hit.doc
        return None

    # -- executions

    def executions(self, query: ExecutionQuery) -> list[ExecutionRow]:
        return log_execution_read.find(self._oldest_first(), query)

    def count_executions(self, query: ExecutionQuery) -> int:
        return log_execution_read.count(self._oldest_first(), query)

    def execution(self, correlation_id: str) -> list[ExecutionRow]:
        return self.executions(ExecutionQuery(correlation_ids=(correlation_id,), sort=(("started", 1),)))

    def waiting(self, since: int, limit: int) -> list[ExecutionRow]:
        return log_execution_read.waiting(self._oldest_first(), since, limit)

    def conclude(self, rows: Sequence[ExecutionRow]) -> None:
        with self._writing:
            for month in self._months.values():
                month.conclude(rows)

    def _oldest_first(self) -> list[LogMonth]:
        return [month for _, month in sorted(self._months.items())]

    # -- deleting

    def delete(self, *, before_ms: int | None = None, flow_ids: Sequence[str] = ()) -> int:
        """Delete what is older than `before_ms` and (if given) of `flow_ids`; the number of records."""
        if before_ms is None and not flow_ids:
            return 0
        parts: list[str] = []
        values: list[Any] = []
        if before_ms is not None:
            parts.append("created < ?")
            values.append(before_ms)
        if flow_ids:
            parts.append('"flowId" IN (SELECT value FROM json_each(?))')
            values.append(orjson.dumps(list(flow_ids)).decode())
        deleted = 0
        for name, month in sorted(self._months.items()):
            start, end = month_span(name)
            if before_ms is not None and start >= before_ms:
                break
            if before_ms is not None and end <= before_ms and not flow_ids:
                deleted += self._drop(month)
            else:
                where, bound = " AND ".join(parts), tuple(values)
                deleted += self._in_batches(partial(month.delete, where, bound))
                self._in_batches(partial(month.delete_executions, before_ms, flow_ids))
        return deleted

    def _in_batches(self, delete: Callable[[], int]) -> int:
        deleted = 0
        while True:
            with self._writing:  # batch by batch, so that appending goes on in between
                count = delete()
            deleted += count
            if not count:
                return deleted
            time.sleep(PAUSE)

    def shrink(self, limit: int) -> bool:
        """Drop the oldest month; when there is only one, so many of its records that a tenth of `limit` is free."""
        months = self._oldest_first()
        sizes = [month.used_bytes() for month in months]
        if sum(sizes) <= limit:
            return False
        if len(months) > 1:
            return self._drop(months[0]) >= 0
        return self._thin(months[0], (sizes[0] - 0.9 * limit) / sizes[0])

    def _drop(self, month: LogMonth) -> int:
        held = month.retire()  # waits for readers; appending goes on meanwhile
        with self._writing:
            self._months = {name: kept for name, kept in self._months.items() if kept is not month}
            month.remove()
        return held

    def _thin(self, month: LogMonth, share: float) -> bool:
        """What is deleted leaves free pages behind, which later records fill. Whether there was anything."""
        bound = month.oldest(share)
        if bound is None:
            return False
        deleted = self._in_batches(partial(month.delete, "created <= ?", (bound,)))
        self._in_batches(partial(month.delete_executions, bound, ()))
        self._in_batches(month.merge_text_index())
        return deleted > 0

    def size(self) -> int:
        total = 0
        for path in self.folder.glob("log-*.db*"):
            try:
                total += path.stat().st_size
            except FileNotFoundError:
                continue
        return total

    def close(self) -> None:
        with self._writing:
            for month in self._months.values():
                month.close()


# -- months


def _by_home(records: Iterable[Doc]) -> dict[str, list[Doc]]:
    """Accounting records by the month their execution is kept in: that of the time in its id, if it has one."""
    start = end = 0
    batches: dict[str, list[Doc]] = {}
    batch: list[Doc] = []
    for record in records:
        created = record["created"]
        made = made_at(record["correlationId"])
        if not created - OLDEST_HOME < made <= created:
            made = created
        if not start <= made < end:
            name = month_name(made)
            start, end = month_span(name)
            batch = batches.setdefault(name, [])
        batch.append(record)
    return batches


# -- conditions


def _both(one: Condition, other: Condition) -> Condition:
    lows = [low for low in (one.low, other.low) if low is not None]
    highs = [high for high in (one.high, other.high) if high is not None]
    sql = f"{one.sql} AND {other.sql}"
    return Condition(sql, (*one.values, *other.values), "", max(lows, default=None), min(highs, default=None))


def _scope(condition: Condition, query: LogQuery) -> Condition:
    if query.flow_ids is not None:
        if len(query.flow_ids) == 1:
            condition = _both(Condition('log."flowId" = ?', query.flow_ids), condition)
        else:
            flows = orjson.dumps(query.flow_ids).decode()
            condition = _both(Condition('log."flowId" IN (SELECT value FROM json_each(?))', (flows,)), condition)
    if query.port_types:
        marks = ", ".join("?" * len(query.port_types))
        condition = _both(condition, Condition(f'log."portType" IN ({marks})', query.port_types))
    return condition
