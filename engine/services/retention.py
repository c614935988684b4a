"""What is cleared away by age and by size, about once a minute (issue 4 "Retention and privacy").

All of it goes in small pieces: `pieces` yields after each, and whoever calls it waits a moment before the next,
so that the writer of the database always has time for what is going on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from engine.ports import Bus, Clock, Documents, Files, LogIndex, Query, Where
from engine.rules.retention import DAY, Keep

SPENT_KEPT = DAY // 24
"""Ids of taken items are kept this long: redeliveries come within it."""

GROUPS_KEPT = 7 * DAY
"""A join that has fired is remembered this long, so that late items do not open it again."""

UPLOADS_KEPT = DAY
"""An upload of which no further part came is given up after this."""

PIECE = 200
"""Documents deleted at a time by age."""

LARGE_PIECE = 20
"""Documents or files deleted at a time by size: they may be large."""

SIZES_EVERY = 3_600_000
"""Milliseconds between two looks at sizes, which take longer than looks at ages."""

BY_FLOWS = Where("metadata.originFlowId", "exists", True)
BY_PEOPLE = (Where("metadata.originFlowId", "exists", False), Where("metadata.userId", "exists", True))
UNFINISHED = Where("metadata.upload", "exists", True)


@dataclass(slots=True)
class Retention:
    """`keeps` says for each of log, unprocessed, ledger, files, uploads and versions how much of it stays.

    `further` are called once a round: what other services clear away themselves.
    """

    documents: Documents
    log_index: LogIndex
    files: Files
    bus: Bus
    clock: Clock
    keeps: Mapping[str, Keep]
    further: tuple[Callable[[], object], ...] = ()
    _sized: int | None = field(default=None, repr=False)

    def __call__(self) -> None:
        for _ in self.pieces():
            pass

    def pieces(self) -> Iterator[None]:
        """One round. Raises what the stores raise; the next round goes on where it stopped."""
        now = self.clock.now()
        for work in self.further:
            work()
            yield
        yield from self._run_out(now)
        if (before := self.keeps["log"].before(now)) is not None:
            self.log_index.delete(before_ms=before)
            yield
        for collection in ("unprocessed", "ledger"):
            if (before := self.keeps[collection].before(now)) is not None:
                yield from self._delete(collection, Where("created", "lt", before))
        yield from self._versions_before(self.keeps["versions"].before(now))
        yield from self._files_before(now)
        if self._sized is None or not 0 <= now - self._sized < SIZES_EVERY:
            self._sized = now
            yield from self._too_large()

    def _run_out(self, now: int) -> Iterator[None]:
        for collection in ("continuity", "webhook_keys", "replies"):
            yield from self._delete(collection, Where("expires", "lt", now))
        spent = (Where("created", "lt", now - SPENT_KEPT), Where("taken", "exists", True))
        yield from self._delete("gather_items", *spent)
        yield from self._delete("gather_groups", Where("created", "lt", now - GROUPS_KEPT))

    def _delete(self, collection: str, *where: Where) -> Iterator[None]:
        while self.documents.delete_many(collection, where, PIECE) == PIECE:
            yield
        yield

    # -- versions

    def _versions_before(self, before: int | None) -> Iterator[None]:
        """Former revisions of flows, unless a timer or a waiting message may still refer to one."""
        if before is None:
            return
        last = ""
        while True:
            where = (Where("created", "lt", before), Where("_id", "gt", last))
            old = self.documents.find(
                "revisions", Query(where=where, sort=(("_id", 1),), include=("flowId", "revision"), limit=LARGE_PIECE)
            )
            for doc in old:
                if not self._referred_to(doc["flowId"], doc["revision"]):
                    self.documents.delete("revisions", doc["_id"])
            yield
            if len(old) < LARGE_PIECE:
                return
            last = old[-1]["_id"]

    def _referred_to(self, flow_id: str, revision: int) -> bool:
        theirs = (Where("flowId", "eq", flow_id), Where("revision", "eq", revision))
        return self.bus.depth(flow_id) > 0 or self.documents.count("timers", Query(where=theirs)) > 0

    # -- files

    def _files_before(self, now: int) -> Iterator[None]:
        bounds = (
            ((BY_FLOWS,), self.keeps["files"].before(now)),
            (BY_PEOPLE, self.keeps["uploads"].before(now)),
            ((UNFINISHED,), now - UPLOADS_KEPT),
        )
        for where, before in bounds:
            if before is not None:
                while self._remove_files((*where, Where("used", "lt", before))):
                    yield

    def _remove_files(self, where: tuple[Where, ...], excess: int | None = None) -> int:
        """Delete the longest unused, a piece at most, of `excess` bytes only so many. → their bytes."""
        removed = 0
        for record in self.files.find(Query(where=where, sort=(("used", 1),), limit=LARGE_PIECE)):
            if excess is not None and removed >= excess:
                break
            self.files.delete(record.file_id)
            removed += max(record.length, 1)
        return removed

    # -- sizes

    def _too_large(self) -> Iterator[None]:
        if limit := self.keeps["log"].bytes:
            while self.log_index.shrink(limit):
                yield
        for name, collection in (("unprocessed",) * 2, ("ledger",) * 2, ("versions", "revisions")):
            if limit := self.keeps[name].bytes:
                yield from self._documents_beyond(collection, limit)
        if limit := self.keeps["files"].bytes:
            excess = self.files.total_bytes((BY_FLOWS,)) - limit
            while excess > 0 and (removed := self._remove_files((BY_FLOWS,), excess)):
                excess -= removed
                yield

    def _documents_beyond(self, collection: str, limit: int) -> Iterator[None]:
        excess = self.documents.excess(collection, limit)
        while excess > 0:
            count, freed = self.documents.delete_oldest(collection, "created", excess=excess, limit=LARGE_PIECE)
            if not count:
                return
            excess -= freed
            yield
