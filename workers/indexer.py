"""The indexer role: moves log records from the bus into the run log, in bulk, idempotent by id."""

from __future__ import annotations

import logging
import threading

import orjson

from engine.errors import HeadraceError
from engine.model.execution import ACCOUNTING
from engine.ports import Bus, Cache, LogBatch, LogIndex
from engine.services.deleted import Deleted
from engine.services.health import Metrics
from engine.services.waiting import Waiting

log = logging.getLogger(__name__)

BULK = 4_000
GATHER = 0.1
"""Seconds records may collect before they are moved: large bulks cost less per record."""

CHANNEL = "logs"
"""Cache channel: {"flowId", "count", "last"} for each flow with new records."""


class Indexer:
    def __init__(
        self, bus: Bus, index: LogIndex, cache: Cache, metrics: Metrics, waiting: Waiting, deleted: Deleted
    ) -> None:
        self._bus = bus
        self._index = index
        self._cache = cache
        self._metrics = metrics
        self._waiting = waiting
        self._deleted = deleted
        self._stopping = threading.Event()
        self.trouble: str | None = None
        """Why records wait in the queue, if they do."""
        self._thread = threading.Thread(target=self._run, name="indexer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        batch: LogBatch | None = None
        while True:
            try:
                if batch is None:
                    self._stopping.wait(GATHER)
                    self._waiting.look()
                    batch = self._bus.take_logs(BULK, 0.5)
                behind = False
                if batch is not None:
                    self._move(batch)
                    behind, batch = len(batch.records) >= BULK, None
                elif self._stopping.is_set():
                    return
                self._waiting.conclude(behind=behind)
                self.trouble = None
            except Exception as error:
                if not isinstance(error, HeadraceError):
                    log.exception("the run log waits", extra={"action": "index_failed"})
                elif self.trouble != error.message:
                    log.warning("the run log waits: %s", error, extra={"action": "index_failed"})
                self.trouble = error.message if isinstance(error, HeadraceError) else type(error).__name__
                if self._stopping.wait(1.0):
                    return  # the records stay in the queue

    def _move(self, batch: LogBatch) -> None:
        records = self._deleted.without(batch.records)
        self._index.append(records)
        if gone := self._deleted.among(records):
            self._index.delete(flow_ids=gone)  # deleted while this was being appended
        self._waiting.note(records)
        self._bus.logs_done(batch)
        self._metrics.indexed.inc(len(records))
        counts: dict[str, list[str]] = {}
        for record in records:
            if record["type"] in ACCOUNTING:
                continue
            counts.setdefault(record["flowId"], []).append(record["id"])
        for flow_id, ids in counts.items():
            text = orjson.dumps({"flowId": flow_id, "count": len(ids), "last": ids[-1]}).decode()
            self._cache.publish(CHANNEL, text)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self, grace: float) -> None:
        self._stopping.set()
        self._thread.join(grace)
