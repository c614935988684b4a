"""Which executions still wait for time or a call, and which have ended (design.md §4 "Executions").

The log index knows that something of an execution waited; whether it still does, only the timers and the calls
that are awaited tell. They are looked at before the next log records are taken: what fired meanwhile is then
among these, and what neither waits nor has a record has ended.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.model.execution import ExecutionRow
from engine.ports import Clock, Doc, Documents, LogIndex, Query, Where

AT_ONCE = 500
LOOKED_AT = 5_000
EVERY_MS = 60_000
"""All that wait are looked at this often: a timer may be cleared by another execution."""


class Waiting:
    """Used by the indexer alone: `look`, take records and append them, `conclude`, `note`."""

    def __init__(self, documents: Documents, log_index: LogIndex, clock: Clock) -> None:
        self._documents = documents
        self._index = log_index
        self._clock = clock
        self._since: int | None = None
        self._over: list[ExecutionRow] = []
        self._all_from = 0
        self._all_at: int | None = None

    def look(self) -> None:
        """Find out which of those that seem to wait do not."""
        rows: list[ExecutionRow] = []
        if self._since is not None:
            rows = self._index.waiting(self._since, LOOKED_AT)
            self._since = rows[-1].last if len(rows) == LOOKED_AT and rows[-1].last > self._since else None
        elif self._all_at is None or not 0 <= self._clock.now() - self._all_at < EVERY_MS:
            rows = self._index.waiting(self._all_from, LOOKED_AT)
            more = len(rows) == LOOKED_AT and rows[-1].last > self._all_from
            self._all_from = rows[-1].last if more else 0
            self._all_at = self._all_at if more else self._clock.now()
        self._over = self._without_reason(rows)

    def conclude(self, *, behind: bool) -> None:
        """`behind`: more records wait to be taken; some may be of those found, which are looked at again."""
        if self._over and behind:
            self._since = min([row.last for row in self._over] + ([self._since] if self._since is not None else []))
        elif self._over:
            self._index.conclude(self._over)
        self._over = []

    def note(self, records: Sequence[Doc]) -> None:
        """These were appended: executions they belong to may wait now."""
        times = [record["created"] for record in records if record.get("type") == "delivery"]
        if times:
            self._since = min(min(times), self._since if self._since is not None else times[0])

    def _without_reason(self, rows: Sequence[ExecutionRow]) -> list[ExecutionRow]:
        over: list[ExecutionRow] = []
        for start in range(0, len(rows), AT_ONCE):
            part = rows[start : start + AT_ONCE]
            held = self._held([row.correlation_id for row in part])
            over.extend(row for row in part if (row.flow_id, row.correlation_id) not in held)
        return over

    def _held(self, correlation_ids: Sequence[str]) -> set[tuple[str, str]]:
        theirs = Where("correlationId", "in", list(correlation_ids))
        not_called = (theirs, Where("called", "exists", False), Where("expires", "gt", self._clock.now()))
        only = ("flowId", "correlationId")
        docs = self._documents.find("timers", Query(where=(theirs,), include=only))
        docs += self._documents.find("continuity", Query(where=not_called, include=only))
        return {(doc["flowId"], doc["correlationId"]) for doc in docs}
