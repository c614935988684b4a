"""The queue in one file: of each flow a window is in memory, and a flow with a long queue delays no other."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine.adapters.embedded import bus as module
from engine.adapters.embedded.bus import SqliteBus
from engine.adapters.embedded.database import Database
from engine.adapters.embedded.query_sql import register_functions
from engine.model.message import Message, new_id
from engine.ports import Delivery, Settlement

WAIT = 20


class Queue:
    """Hands deliveries out one at a time; `order` is the contents in the order they came."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "headrace.db"
        self.order: list[str] = []
        self._changed = threading.Condition()
        self.open()

    def open(self) -> None:
        self.database = Database(self._path, on_connect=(register_functions,))
        self.bus = SqliteBus(self.database)

    def close(self) -> None:
        self.bus.close()
        self.database.close()

    def publish(self, flow_id: str, *contents: str) -> None:
        keys = [new_id() for _ in contents]
        messages = [Message(k, flow_id, 1, 1, "c", k, "in", t, {}, 0) for k, t in zip(keys, contents, strict=True)]
        self.bus.publish(messages).result(WAIT)

    def consume(self, at_a_time: int = 1) -> None:
        self.bus.consume(self._take, at_a_time)

    def _take(self, delivery: Delivery) -> None:
        with self._changed:
            self.order.append(str(delivery.message.content))
            self._changed.notify_all()
        self.bus.settle(delivery, Settlement())

    def until(self, check: Callable[[list[str]], bool]) -> None:
        with self._changed:
            deadline = time.monotonic() + WAIT
            while not check(self.order):
                assert time.monotonic() < deadline, f"{len(self.order)} came"
                self._changed.wait(0.05)


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    for name, value in (("WINDOW", 50), ("FLOW_WINDOW", 20), ("READ_IN", 10)):
        monkeypatch.setattr(module, name, value)
    opened = Queue(tmp_path)
    yield opened
    opened.close()


def test_a_flow_with_a_long_queue_delays_no_other(queue: Queue) -> None:
    queue.publish("busy", *(f"b{n}" for n in range(300)))
    for flow in range(10):
        queue.publish(f"quiet {flow}", *(f"q{flow}.{n}" for n in range(3)))
    queue.consume()
    queue.until(lambda order: sum(text.startswith("q") for text in order) == 30)
    assert len(queue.order) < 40  # the busy flow had a turn in each round, no more
    queue.publish("late", "late")
    at = len(queue.order)
    queue.until(lambda order: "late" in order)
    assert queue.order.index("late") - at < 10
    queue.until(lambda order: len(order) == 331)
    assert [text for text in queue.order if text.startswith("b")] == [f"b{n}" for n in range(300)]


def test_neither_does_it_after_a_restart(queue: Queue) -> None:
    queue.publish("busy", *(f"b{n}" for n in range(300)))
    for flow in range(30):
        queue.publish(f"quiet {flow}", f"q{flow}")
    queue.close()
    queue.open()
    queue.consume()
    queue.until(lambda order: sum(text.startswith("q") for text in order) == 30)
    assert len(queue.order) < 100
    queue.until(lambda order: len(order) == 330)
    assert [text for text in queue.order if text.startswith("b")] == [f"b{n}" for n in range(300)]
    queue.until(lambda _: queue.bus.depth() == 0)


def test_many_flows_together_are_bounded_too_and_all_of_it_arrives(queue: Queue) -> None:
    flows = [f"f{n}" for n in range(40)]
    for part in range(4):
        for flow in flows:
            queue.publish(flow, *(f"{flow}.{part * 10 + n}" for n in range(10)))
    held = len(queue.bus._known)
    assert held <= 50 + module.FEW * len(flows)
    queue.consume(8)
    queue.until(lambda order: len(order) == 1600)
    for flow in flows:
        assert [t for t in queue.order if t.startswith(f"{flow}.")] == [f"{flow}.{n}" for n in range(40)]


def test_a_flow_that_was_removed_reads_nothing_in(queue: Queue) -> None:
    queue.publish("gone", *(f"g{n}" for n in range(300)))
    _, count = queue.bus.remove("gone", 5, lambda _: [])
    assert count == 300
    queue.publish("gone", "again")
    queue.consume()
    queue.until(lambda order: len(order) == 1)
    assert queue.order == ["again"]
    queue.until(lambda _: queue.bus.depth() == 0)


def test_a_pace_that_is_over_when_it_is_looked_at_again_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock moves on between two looks at it, and nobody settles anything that would wake the queue."""
    ticks = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: next(ticks) * 0.6 * module.PACE, sleep=time.sleep)
    for name, value in (("FLOW_WINDOW", 20), ("READ_IN", 10), ("LATELY", 1e9), ("time", clock)):
        monkeypatch.setattr(module, name, value)
    queue = Queue(tmp_path)
    queue.publish("quiet", "q")
    queue.publish("busy", *(f"b{n}" for n in range(100)))
    queue.bus.consume(lambda delivery: queue.order.append(str(delivery.message.content)), 1000)
    queue.until(lambda order: len(order) == 101)
    queue.close()
