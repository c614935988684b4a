"""The cache of the embedded mode: in this process, safe between threads, gone when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import orjson

from engine.adapters.subscribers import Handler, Subscribers
from engine.errors import BadRequest

MAX_ENTRIES = 100_000
SWEEP_EVERY = 4_096


@dataclass(slots=True)
class _Queue:
    """Who holds a slot and who waits for one, in order of arrival; ticket -> time it lapses."""

    holders: dict[str, float] = field(default_factory=dict)
    waiting: dict[str, float] = field(default_factory=dict)

    def forget_lapsed(self, now: float) -> None:
        for tickets in (self.holders, self.waiting):
            for ticket in [ticket for ticket, until in tickets.items() if until <= now]:
                del tickets[ticket]

    @property
    def empty(self) -> bool:
        return not self.holders and not self.waiting


class MemoryCache:
    """`ports.Cache`. Values are kept as JSON, so nobody shares them. All times are in seconds.

    At most `max_entries` values and counters are kept; the one set longest ago goes first.
    Locks and slots are never thrown out before they lapse.
    """

    def __init__(self, *, max_entries: int = MAX_ENTRIES, now: Callable[[], float] = time.monotonic) -> None:
        self._max_entries = max_entries
        self._now = now
        self._mutex = Lock()
        self._entries: dict[str, tuple[bytes, float]] = {}
        self._locks: dict[str, tuple[str, float]] = {}
        self._queues: dict[str, _Queue] = {}
        self._subscribers = Subscribers()
        self._until_sweep = SWEEP_EVERY

    # -- values

    def get(self, key: str) -> Any:
        with self._mutex:
            data = self._live(key)
        return None if data is None else orjson.loads(data)

    def set(self, key: str, value: Any, ttl: float) -> None:
        """Raises BadRequest when `value` is not JSON."""
        data = encoded(key, value)
        with self._mutex:
            self._store(key, data, self._now() + ttl)

    def add(self, key: str, value: Any, ttl: float) -> bool:
        """Raises BadRequest when `value` is not JSON."""
        data = encoded(key, value)
        with self._mutex:
            if self._live(key) is not None:
                return False
            self._store(key, data, self._now() + ttl)
            return True

    def delete(self, *keys: str) -> None:
        with self._mutex:
            for key in keys:
                self._entries.pop(key, None)

    def incr(self, key: str, by: int, ttl: float) -> int:
        """The new count. `ttl` runs from the first call, so a counter is a window of fixed length."""
        with self._mutex:
            data = self._live(key)
            count = 0 if data is None else orjson.loads(data)
            if isinstance(count, bool) or not isinstance(count, int):
                raise BadRequest(f"cache key {key!r} holds no whole number, so it cannot be counted up")
            until = self._now() + ttl if data is None else self._entries[key][1]
            self._store(key, orjson.dumps(count + by), until)
            return count + by

    def _live(self, key: str) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[1] <= self._now():
            del self._entries[key]
            return None
        return entry[0]

    def _store(self, key: str, data: bytes, until: float) -> None:
        self._sweep_sometimes()
        self._entries.pop(key, None)  # set again: to the end of the order
        self._entries[key] = (data, until)
        if len(self._entries) > self._max_entries:
            del self._entries[next(iter(self._entries))]

    # -- locks

    def lock(self, name: str, owner: str, ttl: float) -> bool:
        with self._mutex:
            self._sweep_sometimes()
            now = self._now()
            holder = self._locks.get(name)
            if holder is not None and holder[0] != owner and holder[1] > now:
                return False
            self._locks[name] = (owner, now + ttl)
            return True

    def unlock(self, name: str, owner: str) -> bool:
        """False when `owner` does not hold it (any more)."""
        with self._mutex:
            holder = self._locks.get(name)
            if holder is None or holder[0] != owner:
                return False
            del self._locks[name]
            return holder[1] > self._now()

    # -- publish and subscribe

    def publish(self, channel: str, text: str) -> None:
        """Handlers run in the caller's thread; one that raises is logged and stops no other."""
        self._subscribers.tell(channel, text)

    def subscribe(self, channel: str, handler: Handler) -> Callable[[], None]:
        return self._subscribers.add(channel, handler)

    # -- slots

    def acquire_slot(self, key: str, ticket: str, limit: int, ttl: float) -> bool:
        """Both a slot and a place in the queue lapse `ttl` seconds after the last call for them."""
        with self._mutex:
            self._sweep_sometimes()
            now = self._now()
            queue = self._queues.setdefault(key, _Queue())
            queue.forget_lapsed(now)
            if ticket in queue.holders:
                queue.holders[ticket] = now + ttl
                return True
            queue.waiting[ticket] = now + ttl  # a known ticket keeps its place
            free = limit - len(queue.holders)
            for place, waiting in enumerate(queue.waiting):
                if place >= free:
                    return False
                if waiting == ticket:
                    break
            queue.holders[ticket] = queue.waiting.pop(ticket)
            return True

    def release_slot(self, key: str, ticket: str) -> None:
        with self._mutex:
            queue = self._queues.get(key)
            if queue is None:
                return
            queue.holders.pop(ticket, None)
            queue.waiting.pop(ticket, None)
            if queue.empty:
                del self._queues[key]

    def _sweep_sometimes(self) -> None:
        """What lapsed and is never asked for again must not pile up."""
        self._until_sweep -= 1
        if self._until_sweep > 0:
            return
        self._until_sweep = SWEEP_EVERY
        now = self._now()
        self._entries = {key: entry for key, entry in self._entries.items() if entry[1] > now}
        self._locks = {name: holder for name, holder in self._locks.items() if holder[1] > now}
        for queue in self._queues.values():
            queue.forget_lapsed(now)
        self._queues = {key: queue for key, queue in self._queues.items() if not queue.empty}


def encoded(key: str, value: Any) -> bytes:
    """Raises BadRequest."""
    try:
        return orjson.dumps(value)
    except TypeError as error:
        raise BadRequest(f"cache key {key!r}: the value cannot be stored: {error}") from error
