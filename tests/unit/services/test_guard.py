"""How many messages an execution has caused, counted roughly and cheaply."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, cast

import pytest

from engine.adapters.embedded.cache import MemoryCache
from engine.errors import Unavailable
from engine.model.execution import ExecutionRow
from engine.model.message import Message
from engine.ports import Bus, Clock, Doc, Documents, LogIndex, Settlement
from engine.services import guard
from engine.services.cancelling import Cancelling
from engine.services.guard import MessageGuard

LIMIT = 100_000


def message(name: str = "e") -> Message:
    return Message(f"{name}1", "flow", 3, 7, "c", name, "in", None, {}, 0)


class World:
    """Documents, bus, clock and log index in one."""

    def __init__(self) -> None:
        self.cache = MemoryCache()
        self.cancelled: set[tuple[str, str]] = set()
        self.told: list[Doc] = []
        self.marked: list[Doc | None] = []
        self.recorded: dict[str, int] = {}
        self.cache.subscribe("execution-cancelled", lambda text: self.cancelled.add(cast(Any, tuple(text.split()))))
        self.asked = 0

    def guard(self) -> MessageGuard:
        """Of one process."""
        world = cast(Any, self)
        cancelling = Cancelling(cast(Documents, world), cast(Bus, world), self.cache, cast(Clock, world))
        return MessageGuard(cancelling, self.cache, cast(LogIndex, world), self.cancelled, LIMIT)

    def now(self) -> int:
        return 5

    def get(self, collection: str, id: str) -> Doc | None:
        return {"_id": id, "name": "Orders", "userId": "ann"}

    def find(self, *_: object) -> list[Doc]:
        return []

    def delete_many(self, *_: object) -> int:
        return 0

    def settle(self, _: None, settlement: Settlement) -> Future[None]:
        self.told += settlement.logs
        self.marked += [write.doc for write in settlement.writes]
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def execution(self, correlation_id: str) -> Sequence[ExecutionRow]:
        self.asked += 1
        steps = self.recorded.get(correlation_id)
        if steps is None:
            return []
        row = ExecutionRow(correlation_id, "flow", 3, 7, None, "running", 0, 0, steps, 0, None, None, None)
        return [row]


def count(world: World, guard: MessageGuard, times: int, each: int) -> int:
    """How many were counted when the execution was ended."""
    for n in range(times):
        guard.count(message(), each)
        if world.cancelled:
            return (n + 1) * each
    return 0


def test_an_execution_is_ended_within_a_percent_of_the_limit() -> None:
    world = World()
    assert LIMIT <= count(world, world.guard(), 2 * LIMIT, 7) <= LIMIT * 1.01
    assert world.cancelled == {("flow", "e")}
    assert [doc and (doc["flowId"], doc["correlationId"]) for doc in world.marked] == [("flow", "e")]
    line = next(record for record in world.told if record["type"] == "flow")
    assert (line["severity"], line["flowId"], line["correlationId"]) == ("error", "flow", "e")
    assert "100000 messages" in line["msg"]
    assert "Orders" in line["msg"]
    accounting = next(record for record in world.told if record["type"] == "delivery")
    assert "100000" in accounting["cancelled"]
    assert (accounting["run"], accounting["revision"]) == (3, 7)


def test_it_stays_ended_and_is_told_once() -> None:
    world = World()
    one = world.guard()
    count(world, one, 2 * LIMIT, 100)
    count(world, one, 2 * LIMIT, 100)
    assert len(world.told) == 2


def test_processes_count_together() -> None:
    world = World()
    guards = [world.guard() for _ in range(4)]
    done = 0
    while not world.cancelled:
        for each in guards:
            each.count(message(), 10)
            done += 10
        assert done < 2 * LIMIT
    assert LIMIT * 0.98 <= done <= LIMIT * 1.03


def test_many_others_in_between_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "KEPT", 50)
    world = World()
    one, done = world.guard(), 0
    while not world.cancelled:
        one.count(message(), 20)
        done += 20
        for n in range(10):
            one.count(message(f"other{done}-{n}"), 3)
        assert len(one._counts) <= 51
        assert done < 2 * LIMIT
    assert LIMIT * 0.98 <= done <= LIMIT * 1.03
    assert world.cancelled == {("flow", "e")}


def test_after_a_restart_the_run_log_tells_what_was_before() -> None:
    world = World()
    world.recorded["e"] = LIMIT - 5_000
    assert 3_000 <= count(world, world.guard(), LIMIT, 10) <= 6_000
    assert world.asked == 1


def test_a_small_execution_costs_no_look_up() -> None:
    world = World()
    one = world.guard()
    for n in range(1000):
        one.count(message(str(n)), 50)
    assert world.asked == 0
    assert world.cache.get("caused:flow:1") is None


def test_what_cannot_be_reported_now_is_reported_later(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    one = world.guard()
    with monkeypatch.context() as broken:

        def away(*_: object) -> int:
            raise Unavailable("the cache is away")

        broken.setattr(world.cache, "incr", away)
        assert count(world, one, LIMIT // 20, 10) == 0  # half of it
    assert LIMIT * 0.49 <= count(world, one, LIMIT, 10) <= LIMIT * 0.52
