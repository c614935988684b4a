"""A timer that fires is removed after its message is durable: it may fire twice, but it must fire."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, cast

from engine.model.message import Message
from engine.ports import Bus, Clock, Delivery, Documents, Query, Settlement
from engine.services.timers import Timers, timer


class Due:
    """Documents with these timers; a bus that notes what it is given."""

    def __init__(self, *docs: dict[str, Any]) -> None:
        self.docs = docs
        self.settled: list[Settlement] = []

    def find(self, _collection: str, _query: Query) -> list[dict[str, Any]]:
        return list(self.docs)

    def now(self) -> int:
        return 10_000

    def settle(self, delivery: Delivery | None, settlement: Settlement) -> Future[None]:
        self.settled.append(settlement)
        done: Future[None] = Future()
        done.set_result(None)
        return done


def test_the_removal_and_the_next_tick_come_last() -> None:
    message = Message("m", "flow", 1, 1, "component", "m", "timeout", None, {}, 1, kind="timeout")
    once, tick = timer("t1", "retry", 5_000, message), timer("t2", "tick", 6_000, message, every=60_000)
    assert once.doc is not None
    assert tick.doc is not None
    due = Due(once.doc, tick.doc)
    assert Timers(cast(Documents, due), cast(Bus, due), cast(Clock, due), lambda *_: True).fire_due() == 2
    [settlement] = due.settled
    assert len(settlement.publishes) == 2
    assert settlement.writes == []
    assert [(w.id, w.doc and w.doc["due"]) for w in settlement.last] == [("t1", None), ("t2", 66_000)]
