"""Deliveries that this process has been given: those that wait, and those handed out and not settled yet.

They are handed out round the flows. A flow that has its share waits, and so does what came by the queue of
crowded flows once it has a quarter of all that is handed out, as long as anything else may begin. Two copies
of a message are never out at the same time: the second one waits until the first has been settled, so that it
finds what the first has left behind.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from engine.adapters.embedded.fairness import RoundRobin
from engine.adapters.rabbit.topology import BULK
from engine.ports import Delivery

HOG = 50
"""A flow with fewer deliveries waiting here is never in others' way."""

PACE, LATELY = 0.002, 0.25
"""Seconds between two deliveries of crowded flows while others have had something to do lately: the interpreter
is one, so even a quarter of many quick steps would delay them."""


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """The tag of our deliveries: what the broker calls one, and on which connection. `arrived` is monotonic."""

    queue: str
    number: int
    generation: int
    arrived: float = field(default_factory=time.monotonic)


class Waiting(RoundRobin):
    def older(self, than: float) -> list[Delivery]:
        """Take those that arrived before that moment."""
        found = []
        for flow_id, waiting in list(self._flows.items()):
            while waiting and waiting[0].tag.arrived < than:
                found.append(waiting.popleft())
            if not waiting:
                del self._flows[flow_id]
        return found


class Room:
    """For any thread. Whatever `lost` has been called for comes again by itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._flows = Waiting()
        self._bulk = Waiting()
        self._parked: dict[str, deque[Delivery]] = {}
        self._out: dict[str, Delivery] = {}
        self._bulk_out = 0
        self._others_at = self._next_of_bulk = 0.0
        self._flow_out: dict[str, int] = {}
        self._held: dict[str, int] = {}
        self._generation = 0
        self._prefetch = 0
        self._share: Callable[[str], int] | None = None
        self._open = False

    def open(self, prefetch: int, share: Callable[[str], int] | None) -> None:
        with self._lock:
            self._prefetch, self._share, self._open = prefetch, share, True

    def shut(self) -> None:
        """`next` returns None from now on."""
        with self._lock:
            self._open = False
            self._changed.notify_all()

    def arrive(self, delivery: Delivery, *, suspected: bool) -> bool:
        """False when it is suspected, or its flow has so many here that others' cannot reach us: it is to be taken
        elsewhere, and is `gone` then."""
        queue, flow_id = delivery.tag.queue, delivery.message.flow_id
        with self._lock:
            self._held[queue] = self._held.get(queue, 0) + 1
            if suspected or (queue != BULK and self._is_hog(queue, flow_id)):
                return False
            self._waiting(delivery).push(flow_id, delivery)
            self._changed.notify_all()
        return True

    def _is_hog(self, queue: str, flow_id: str) -> bool:
        nearly_full = self._held[queue] * 4 >= self._prefetch * 3
        return nearly_full and self._flows.waiting(flow_id) > max(HOG, self._prefetch // 4)

    def _waiting(self, delivery: Delivery) -> Waiting:
        return self._bulk if delivery.tag.queue == BULK else self._flows

    def next(self) -> Delivery | None:
        """The next to be handed out, waiting for it; None when the room is shut."""
        with self._lock:
            while self._open:
                now = time.monotonic()
                if len(self._out) < self._prefetch and (delivery := self._pick(now)) is not None:
                    self._hand_out(delivery, now)
                    return delivery
                self._changed.wait(self._next_of_bulk - now if self._next_of_bulk > now else None)
        return None

    def _pick(self, now: float) -> Delivery | None:
        order = [self._flows]
        if now >= self._next_of_bulk:
            order.insert(0 if self._bulk_out * 4 < len(self._out) else 1, self._bulk)
        for waiting in order:
            while (delivery := waiting.pop(self._may_have)) is not None:
                if delivery.message.id not in self._out:
                    return delivery
                self._parked.setdefault(delivery.message.id, deque()).append(delivery)
        return None

    def _may_have(self, flow_id: str) -> bool:
        return self._share is None or self._flow_out.get(flow_id, 0) < self._share(flow_id)

    def _hand_out(self, delivery: Delivery, now: float) -> None:
        flow_id = delivery.message.flow_id
        self._out[delivery.message.id] = delivery
        self._flow_out[flow_id] = self._flow_out.get(flow_id, 0) + 1
        if delivery.tag.queue == BULK:
            self._bulk_out += 1
            self._next_of_bulk = now + PACE if now - self._others_at < LATELY else 0.0
        else:
            self._others_at = now

    def ended(self, delivery: Delivery) -> None:
        """What was handed out is settled, or lost and at an end."""
        message = delivery.message
        with self._lock:
            if self._out.get(message.id) is not delivery:
                return
            del self._out[message.id]
            busy = self._flow_out.pop(message.flow_id) - 1
            if busy:
                self._flow_out[message.flow_id] = busy
            self._bulk_out -= delivery.tag.queue == BULK
            self._let_go(delivery)
            if (copies := self._parked.pop(message.id, None)) is not None:
                for copy in copies:
                    self._waiting(copy).push(message.flow_id, copy)
            self._changed.notify_all()

    def gone(self, delivery: Delivery) -> None:
        """What was never handed out is on another queue."""
        with self._lock:
            self._let_go(delivery)

    def _let_go(self, delivery: Delivery) -> None:
        if delivery.tag.generation == self._generation:
            self._held[delivery.tag.queue] -= 1

    def lost(self, generation: int) -> None:
        """All deliveries are of a connection that is no more. `generation` is that of the next one."""
        with self._lock:
            self._flows, self._bulk = Waiting(), Waiting()
            self._parked.clear()
            self._held.clear()
            self._generation = generation

    def older(self, than: float) -> list[Delivery]:
        """Take those that have waited since before that moment, copies too."""
        with self._lock:
            found = [*self._flows.older(than), *self._bulk.older(than)]
            for key, copies in list(self._parked.items()):
                while copies and copies[0].tag.arrived < than:
                    found.append(copies.popleft())
                if not copies:
                    del self._parked[key]
            return found

    def __len__(self) -> int:
        """All that is here and not lost."""
        with self._lock:
            return sum(self._held.values())
