"""The order of trials, what becomes of the guilty, and an end in the middle."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from engine.errors import Unavailable
from engine.model.message import Kind, Message, new_id
from engine.ports import Delivery
from engine.services.execution import Execution
from engine.services.outcome import Outcome
from engine.services.suspects import ALONE_LONGEST, DEATHS, Suspect
from workers.trials import Trials

WAIT = 10


def suspect(name: str, deaths: int = 0, kind: Kind = "port") -> Suspect:
    message = Message(new_id(), "flow", 1, 1, name, name, "in", None, {}, 1, kind=kind)
    return Suspect(Delivery(message, message.id), 1, deaths)


@dataclass
class Worker:
    """Writes down what the trials ask of it. `slow` are never done while somebody waits."""

    slow: set[str] = field(default_factory=set)
    fault: bool = False
    done: list[str] = field(default_factory=list)
    settled: list[Outcome] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    stop_at: str = ""

    def __post_init__(self) -> None:
        self.trials = Trials(cast(Execution, self), self.take, self.settle, self.wait_idle, self.go_on)

    def take(self, delivery: Delivery) -> None:
        self.done.append(delivery.message.component_id)

    def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        self.done.append(f"{delivery.message.component_id} put away")
        self.settled.append(outcome)

    def abandon(self, message: Message, reason: str, code: str) -> Outcome:
        if self.fault:
            raise Unavailable("the disk is full")
        return Outcome(writes=cast(Any, [(message.component_id, reason, code)]))

    def wait_idle(self, seconds: float) -> bool:
        self.done.append(f"waited {seconds:g}")
        if self.stop_at and self.stop_at in self.done:
            self.trials.stop()
            self.over.set()
        return True

    def go_on(self) -> None:
        self.done.append("go on")
        self.over.set()


def test_without_suspects_work_begins_at_once() -> None:
    worker = Worker()
    worker.trials.begin([])
    assert worker.done == ["go on"]


def test_one_after_the_other_then_the_rest() -> None:
    worker = Worker()
    worker.trials.begin([suspect("a"), suspect("b")])
    assert worker.over.wait(WAIT)
    assert worker.done == ["a", "waited 1", "b", "waited 1", "go on"]


def test_the_guilty_are_put_away_with_the_reason() -> None:
    worker = Worker()
    worker.trials.begin([suspect("a"), suspect("bad", DEATHS)])
    assert worker.over.wait(WAIT)
    assert worker.done == ["a", "waited 1", "bad put away", "waited 1", "go on"]
    assert cast(Any, worker.settled[0].writes) == [("bad", "killed its process 3 times", "KILLED_PROCESS")]
    assert worker.settled[0].stop_flows == set()


def test_a_guilty_tick_stops_its_flow() -> None:
    """There is no message to keep, and the next tick would do the same."""
    worker = Worker()
    worker.trials.begin([suspect("bad", DEATHS, "tick")])
    assert worker.over.wait(WAIT)
    assert worker.settled[0].stop_flows == {"flow"}


def test_a_fault_of_the_storage_does_not_keep_the_rest_from_working() -> None:
    worker = Worker(fault=True)
    worker.trials.begin([suspect("bad", DEATHS)])
    assert worker.over.wait(WAIT)
    assert worker.done == ["waited 1", "go on"]


def test_nothing_begins_after_a_stop() -> None:
    worker = Worker(stop_at="a")
    worker.trials.begin([suspect("a"), suspect("b")])
    assert worker.over.wait(WAIT)
    for thread in threading.enumerate():
        if thread.name == "suspects":
            thread.join(WAIT)
    assert worker.done == ["a", "waited 1"]
    worker.trials.begin([])
    assert worker.done == ["a", "waited 1"]


@pytest.mark.parametrize(("found", "seconds"), [(1, 1), (2, 2), (5, 16), (40, ALONE_LONGEST)])
def test_each_time_a_suspect_is_alone_for_twice_as_long(found: int, seconds: float) -> None:
    assert Suspect(suspect("a").delivery, found, 0).seconds_alone == seconds
