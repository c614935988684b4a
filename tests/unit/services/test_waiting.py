"""Which executions still wait: what the indexer asks before it takes records, and concludes after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from engine.model.execution import ExecutionRow
from engine.ports import Doc, Documents, LogIndex, Query
from engine.services import waiting
from engine.services.waiting import EVERY_MS, Waiting

NOW = 1_790_000_000_000


class Index:
    def __init__(self) -> None:
        self.rows: list[ExecutionRow] = []
        self.concluded: list[str] = []

    def add(self, *ids: str, last: int = NOW) -> None:
        self.rows += [ExecutionRow(id_, "f1", 1, 1, None, "waiting", last, last, 1, 0, None, None, None) for id_ in ids]

    def waiting(self, since: int, limit: int) -> list[ExecutionRow]:
        found = [row for row in self.rows if row.status == "waiting" and row.last >= since]
        return sorted(found, key=lambda row: row.last)[:limit]

    def conclude(self, rows: Sequence[ExecutionRow]) -> None:
        self.concluded += [row.correlation_id for row in rows]
        self.rows = [replace(row, status="succeeded") if row in rows else row for row in self.rows]


class Store:
    """Timers and awaited calls by correlation id."""

    def __init__(self) -> None:
        self.held: dict[str, set[str]] = {"timers": set(), "continuity": set()}

    def find(self, collection: str, query: Query) -> list[Doc]:
        wanted = next(where.value for where in query.where if where.path == "correlationId")
        found = self.held[collection] & set(wanted)
        return [{"_id": id_, "flowId": "f1", "correlationId": id_} for id_ in found]


class Clock:
    ms = NOW

    def now(self) -> int:
        return self.ms


class World:
    def __init__(self) -> None:
        self.index, self.store, self.clock = Index(), Store(), Clock()
        documents, index = cast(Documents, self.store), cast(LogIndex, self.index)
        self.waiting = Waiting(documents, index, self.clock)

    def round(self, *records: Doc, behind: bool = False, meanwhile: Any = None) -> list[str]:
        """One round of the indexer; who was concluded in it."""
        before = len(self.index.concluded)
        self.waiting.look()
        if meanwhile is not None:
            meanwhile()
        self.waiting.note(records)
        self.waiting.conclude(behind=behind)
        return self.index.concluded[before:]


@pytest.fixture
def world() -> World:
    made = World()
    made.round()  # all are looked at once at the start
    return made


def record(at: int = NOW) -> Doc:
    return {"type": "delivery", "created": at}


def test_one_that_waits_for_nothing_has_ended(world: World) -> None:
    world.index.add("timer", "call", "none")
    world.store.held = {"timers": {"timer"}, "continuity": {"call"}}
    assert world.round(record()) == []
    assert world.round() == ["none"]
    assert world.round() == []


def test_those_of_before_a_restart_are_looked_at_first() -> None:
    world = World()
    world.index.add("a", "b", last=NOW - 50_000_000)
    world.store.held["timers"] = {"b"}
    assert world.round() == ["a"]


def test_while_records_are_behind_nothing_is_concluded(world: World) -> None:
    world.index.add("a")
    world.round(record())
    assert world.round(record(NOW + 5), behind=True) == []
    assert world.round(record(NOW + 9), behind=True) == []
    assert world.round() == ["a"]


def test_only_those_with_new_records_are_looked_at_each_time(world: World) -> None:
    world.index.add("old", last=NOW - 1000)
    world.index.add("new")
    world.store.held["timers"] = {"old", "new"}
    world.round(record())
    world.store.held["timers"] = set()
    assert world.round(record()) == ["new"]
    assert world.round() == []
    world.clock.ms += EVERY_MS
    assert world.round() == ["old"]


def test_a_clock_set_back_does_not_stop_it(world: World) -> None:
    world.index.add("a", last=NOW - 10_000_000)
    world.clock.ms -= 3_600_000
    assert world.round() == ["a"]


def test_many_are_looked_at_in_parts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LOOKED_AT", 3)
    monkeypatch.setattr(waiting, "AT_ONCE", 2)
    for n in range(8):
        world.index.add(f"w{n}", last=NOW + n)
    world.store.held["timers"] = {f"w{n}" for n in range(7)}
    world.round(record())
    assert [world.round() for _ in range(4)] == [[], [], [], ["w7"]]
    world.store.held["timers"] = {"w1"}
    world.clock.ms += EVERY_MS
    done = [id_ for _ in range(5) for id_ in world.round()]
    assert sorted(done) == ["w0", "w2", "w3", "w4", "w5", "w6"]


def test_more_of_the_same_moment_than_are_looked_at_once_do_not_block(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "LOOKED_AT", 2)
    world.index.add("a", "b", "c")
    world.store.held["timers"] = {"a", "b"}
    for _ in range(4):
        world.round(record())
    assert world.waiting._since is not None
    world.round()
    assert world.waiting._since is None
