from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest

from engine.adapters.embedded.cache import MemoryCache
from engine.errors import Unavailable
from engine.model.log import LogPage, LogQuery
from engine.ports import Doc
from webapp import stream
from webapp.stream import Stream, StreamHub


class FixedClock:
    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    def now(self) -> int:
        return self.ms


class Log:
    """The newest records of one flow; remembers what it was asked."""

    def __init__(self) -> None:
        self.records: list[Doc] = []
        self.asked: list[LogQuery] = []

    def search(self, query: LogQuery) -> LogPage:
        self.asked.append(query)
        return LogPage(list(self.records), [], len(self.records))


class World:
    def __init__(self) -> None:
        self.cache = MemoryCache()
        self.clock = FixedClock()
        self.log = Log()
        log_index: Any = self.log
        self.hub = StreamHub(
            cache=self.cache,
            log_index=log_index,
            clock=self.clock,
            limit=2,
            render=lambda flow_id, records: f"{flow_id}:" + ",".join(r["_id"] for r in records),
        )

    def indexed(self, *ids: str) -> None:
        self.log.records = [{"_id": one} for one in ids]
        self.cache.publish("logs", orjson.dumps({"flowId": "f", "count": len(ids), "last": ids[0]}).decode())


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(stream, "PAUSE", 0.0)
    world = World()
    yield world
    world.hub.close()


def topics(*names: str) -> frozenset[str]:
    return frozenset(names)


def heard(hub: StreamHub, opened: Stream) -> Callable[[], tuple[str, Doc]]:
    """The next event of a stream: (its name, its data)."""
    events = hub.events(opened)
    assert next(events) == b": open\n\n"

    def following() -> tuple[str, Doc]:
        fields = dict(line.split(": ", 1) for line in next(events).decode().strip().split("\n"))
        return fields["event"], orjson.loads(fields["data"])

    return following


def test_new_log_records_reach_every_reader_of_their_flow(world: World) -> None:
    first = heard(world.hub, world.hub.open(topics("log:f"), None))
    second = heard(world.hub, world.hub.open(topics("log:f", "flow:f"), None))
    world.indexed("b", "a")
    expected = ("log", {"topic": "log:f", "html": "f:b,a"})
    assert first() == expected
    assert second() == expected


def test_a_record_is_sent_once(world: World) -> None:
    following = heard(world.hub, world.hub.open(topics("log:f"), None))
    world.indexed("a")
    assert following()[1]["html"] == "f:a"
    world.indexed("c", "b", "a")
    assert following()[1]["html"] == "f:c,b"


def test_a_changed_flow_is_told_as_a_hint(world: World) -> None:
    following = heard(world.hub, world.hub.open(topics("flow:f"), None))
    world.cache.publish("flow-changed", "other")
    world.cache.publish("flow-changed", "f")
    assert following() == ("flow", {"topic": "flow:f"})


def test_a_resumed_stream_begins_with_what_came_since_and_a_while_before(world: World) -> None:
    world.log.records = [{"_id": "late"}]
    following = heard(world.hub, world.hub.open(topics("flow:f", "log:f"), world.clock.ms))
    assert following() == ("flow", {"topic": "flow:f"})
    assert following()[1]["html"] == "f:late"
    assert world.log.asked[0].query == f"created:>={world.clock.ms - stream.OVERLAP_MS}"
    assert world.log.asked[0].flow_ids == ("f",)


def test_nobody_is_served_beyond_the_limit_until_somebody_leaves(world: World) -> None:
    first = world.hub.open(topics("flow:f"), None)
    world.hub.open(topics("flow:f"), None)
    with pytest.raises(Unavailable):
        world.hub.open(topics("flow:f"), None)
    world.hub.leave(first)
    world.hub.open(topics("flow:f"), None)


def test_a_stream_that_cannot_begin_takes_no_place(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def search(_query: LogQuery) -> LogPage:
        raise Unavailable("the run log cannot be read")

    with monkeypatch.context() as broken:
        broken.setattr(world.log, "search", search)
        for _ in range(3):
            with pytest.raises(Unavailable, match="run log"):
                world.hub.open(frozenset(["log:f"]), 0)
    assert [world.hub.open(frozenset(["log:f"]), None) for _ in range(2)]


def test_nothing_is_read_for_flows_nobody_watches(world: World) -> None:
    watched = heard(world.hub, world.hub.open(topics("flow:f"), None))
    world.indexed("a")
    world.cache.publish("flow-changed", "f")
    watched()
    assert world.log.asked == []


def test_a_reader_that_does_not_keep_up_is_ended_and_told_so(world: World) -> None:
    opened = world.hub.open(topics("flow:f"), None)
    for _ in range(stream.BACKLOG + 1):
        world.hub._deliver([opened], b"event")
    assert list(world.hub.events(opened))[-1] == b"event"


def test_a_stream_ends_with_its_time_so_that_rights_are_asked_again(world: World) -> None:
    opened = world.hub.open(topics("flow:f"), None)
    world.clock.ms += stream.LIFE_MS
    assert list(world.hub.events(opened)) == [b": open\n\n"]


def test_a_quiet_stream_shows_that_it_is_alive(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT", 0.01)
    events = world.hub.events(world.hub.open(topics("flow:f"), None))
    next(events)
    assert next(events) == b": ping\n\n"


def test_closing_ends_all_streams(world: World) -> None:
    opened = world.hub.open(topics("flow:f"), None)
    reader = threading.Thread(target=lambda: list(world.hub.events(opened)))
    reader.start()
    world.hub.close()
    reader.join(5)
    assert not reader.is_alive()


def test_one_topic_that_cannot_be_read_does_not_stop_the_others(world: World) -> None:
    following = heard(world.hub, world.hub.open(topics("log:f", "flow:g"), None))

    def broken(query: LogQuery) -> LogPage:
        raise RuntimeError("disk")

    world.log.search = broken  # type: ignore[method-assign]
    world.indexed("a")
    world.cache.publish("flow-changed", "g")
    assert following() == ("flow", {"topic": "flow:g"})
