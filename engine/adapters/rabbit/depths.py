"""How many messages each flow has on the broker, which does not know: it has queues, not flows.

Every process counts what it publishes and removes, and exchanges the differences with all others through
shared counters a few times a second, many flows in one round trip. A process that dies takes some of a
second's counts with it, so a count is a good estimate and no more.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from typing import Protocol

from engine.errors import HeadraceError

log = logging.getLogger(__name__)

EXCHANGE = 0.2
"""Seconds between two exchanges."""

MANY, FEW = 1_000, 200
"""A flow with more than MANY messages waiting is crowded until it has fewer than FEW."""


class Counters(Protocol):
    """Named whole numbers that all processes share. They start at 0, and a week after their last change again."""

    def add(self, changes: Mapping[str, int]) -> Mapping[str, int]:
        """Add to each, in one round trip. → the new numbers; some may be below 0 for a while. Raises Unavailable."""


class Depths:
    """For any thread. Without `counters` only this process's own messages are counted."""

    def __init__(self, counters: Counters | None) -> None:
        self._counters = counters
        self._lock = threading.Lock()
        self._known: dict[str, int] = {}
        self._changes: dict[str, int] = {}
        self._crowded: set[str] = set()
        self._closing = threading.Event()
        self._away = False
        self._thread = threading.Thread(target=self._run, name="rabbit depths", daemon=True)
        if counters is not None:
            self._thread.start()

    def add(self, flow_id: str, by: int) -> None:
        with self._lock:
            changed = self._changes.pop(flow_id, 0) + by
            if changed:
                self._changes[flow_id] = changed

    def of(self, flow_id: str) -> int:
        """As well as it can be known: asks the shared counters."""
        self._exchange([flow_id])
        return max(0, self._count(flow_id))

    def is_crowded(self, flow_id: str) -> bool:
        """As of the last exchange; quick, since it is asked for every message that is published."""
        count = self._count(flow_id)
        if count > MANY:
            self._crowded.add(flow_id)
        elif count < FEW:
            self._crowded.discard(flow_id)
        return flow_id in self._crowded

    def _count(self, flow_id: str) -> int:
        return self._known.get(flow_id, 0) + self._changes.get(flow_id, 0)

    def _run(self) -> None:
        while not self._closing.wait(EXCHANGE):
            self._exchange()
        self._exchange()

    def _exchange(self, asked: Iterable[str] = ()) -> None:
        if self._counters is None:
            return
        with self._lock:
            changes, self._changes = self._changes, {}
            if not changes and not asked:
                return
            for flow_id, by in changes.items():  # what we have done counts at once, whatever the others did
                self._known[flow_id] = self._known.get(flow_id, 0) + by
        try:
            counted = self._counters.add({**dict.fromkeys(asked, 0), **changes})
        except HeadraceError as error:
            self._put_off(changes, error)
            return
        self._away = False
        with self._lock:
            for flow_id, count in counted.items():
                if count:
                    self._known[flow_id] = count
                else:
                    self._known.pop(flow_id, None)

    def _put_off(self, changes: dict[str, int], error: HeadraceError) -> None:
        """Count them the next time."""
        if not self._away:
            log.warning("the counts of waiting messages are not shared: %s", error, extra={"action": "depths_failed"})
        self._away = True
        with self._lock:
            for flow_id, by in changes.items():
                self._known[flow_id] = self._known.get(flow_id, 0) - by
                self._changes[flow_id] = self._changes.get(flow_id, 0) + by

    def close(self) -> None:
        self._closing.set()
        if self._counters is not None:
            self._thread.join()
