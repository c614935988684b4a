"""Steps over their limit, and messages whose handling fails: what becomes of them and of the threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, cast

import pytest

from engine.errors import BadRequest, Unavailable
from engine.model.message import Message, new_id
from engine.ports import Delivery, Settlement
from engine.services.health import Metrics
from engine.services.outcome import Outcome
from workers import steps
from workers.steps import HANDLING_TRIES, StepWorker, pause_before

LIMIT = 0.2
THREADS = 8


def until(check: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 30
    while not check():
        assert time.monotonic() < deadline, f"{what} did not come about"
        time.sleep(0.005)


class World:
    """Bus, execution, plans, claims and suspects of a worker. What a message does is a function by its component."""

    def __init__(self, external: bool) -> None:
        self.external = external
        self.does: dict[str, Callable[[Callable[[], bool]], object]] = {}
        self.settled: list[tuple[str, str]] = []
        self.tries: dict[str, int] = {}
        self.abandon_fails: list[Exception] = []
        self.settle_fails: Callable[[str], Exception | None] = lambda _: None
        self.restarts = 0
        self.open = threading.Event()
        self.metrics = Metrics()
        self.worker = StepWorker(
            bus=cast(Any, self),
            execution=cast(Any, self),
            plans=cast(Any, self),
            after=lambda message, outcome: None,
            metrics=self.metrics,
            threads=THREADS,
            limit=LIMIT,
            claims=cast(Any, self),
            suspects=cast(Any, self),
            on_exhausted=self.restart,
        )
        self.worker.start()

    # bus

    def consume(self, handler: Callable[[Delivery], None], *_: object) -> None:
        self.handler = handler

    def deliver(self, name: str) -> None:
        message = Message(new_id(), "flow", 1, 1, name, name, "in", None, {}, 1)
        self.handler(Delivery(message, message.id))

    def settle(self, delivery: Delivery, settlement: Settlement) -> Future[None]:
        name, how = delivery.message.component_id, cast(str, settlement.logs[0])
        error: Exception | None = self.settle_fails(how)
        if error is not None:
            raise error
        self.settled.append((name, how))
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def stop_consuming(self) -> None: ...

    # execution

    def is_external(self, message: Message) -> bool:
        return self.external

    def run(self, message: Message, *, over: Callable[[], bool], **_: object) -> Outcome:
        name = message.component_id
        self.tries[name] = self.tries.get(name, 0) + 1
        if name in self.does:
            self.does[name](over)
        return Outcome(logs=cast(Any, ["done"]))

    def abandon(self, message: Message, reason: str, code: str = "RECEIVE_TIMEOUT") -> Outcome:
        if self.abandon_fails:
            raise self.abandon_fails.pop()
        return Outcome(logs=cast(Any, [f"{code}: {reason}"]))

    # the rest

    def find(self) -> list[Any]:
        return []

    def begin(self, message_id: str) -> int:
        return 0

    def end(self, claim: int) -> None: ...

    def restart(self) -> None:
        self.restarts += 1

    def hang(self, over: Callable[[], bool]) -> None:
        self.open.wait(60)

    def how(self, name: str) -> list[str]:
        return [how for component, how in self.settled if component == name]


@pytest.fixture(params=[True, False], ids=["outside", "inside"])
def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(steps, "AGAIN", 0.001)
    monkeypatch.setattr(steps, "LONGEST", 0.002)
    made = World(request.param)
    yield made
    made.open.set()
    made.worker.stop(5)


# -- over the limit


def test_a_step_over_its_limit_is_given_up_and_its_late_result_discarded(world: World) -> None:
    ended: list[bool] = []

    def late(over: Callable[[], bool]) -> None:
        before = over()
        world.hang(over)
        ended.append(not before and over())

    world.does["late"] = late
    world.deliver("late")
    until(lambda: world.how("late"), "the end of the step")
    assert world.how("late") == ["RECEIVE_TIMEOUT: no answer within 0.2 seconds"]
    assert world.worker.wait_idle(5)
    world.open.set()
    until(lambda: ended, "the late end")
    assert ended == [True]  # it can tell
    world.deliver("other")
    until(lambda: world.how("other"), "another step")
    assert len(world.how("late")) == 1


def test_its_thread_is_replaced_and_counted(world: World) -> None:
    every = THREADS if world.external else steps.INSIDE_THREADS
    for n in range(every):
        world.does[f"hangs{n}"] = world.hang
        world.deliver(f"hangs{n}")
    until(lambda: len(world.settled) == every, "the end of all that hang")
    for n in range(every):
        world.deliver(f"good{n}")
    until(lambda: len(world.settled) == 2 * every, "the end of those behind them")
    assert world.metrics.registry.get_sample_value("headrace_steps_given_up_total") == every


def test_more_than_a_quarter_of_the_pool_restarts_the_process_once(world: World) -> None:
    for n in range(1, THREADS // 4 + 1):
        world.does[f"hangs{n}"] = world.hang
        world.deliver(f"hangs{n}")
        until(lambda: len(world.settled) == n, "a step given up")  # noqa: B023
    assert world.restarts == 0
    for n in range(3):
        world.does[f"more{n}"] = world.hang
        world.deliver(f"more{n}")
    until(lambda: len(world.settled) == THREADS // 4 + 3, "three more given up")
    until(lambda: world.restarts, "the restart")
    assert world.restarts == 1


def test_steps_that_end_after_all_no_longer_count(world: World) -> None:
    for n in range(4 * THREADS):
        gate = threading.Event()
        world.does[f"slow{n}"] = lambda _, gate=gate: gate.wait(60)  # type: ignore[misc]
        world.deliver(f"slow{n}")
        until(lambda: len(world.settled) == n + 1, "a step given up")  # noqa: B023
        gate.set()
        until(lambda: world.worker.hanging == 0, "its end")
        if n > THREADS // 4:
            break
    assert world.restarts == 0


def test_the_watchdog_outlives_a_fault(world: World) -> None:
    world.abandon_fails = [RuntimeError("a fault"), Unavailable("the disk is full")]
    for n in range(2):
        world.does[f"hangs{n}"] = world.hang
        world.deliver(f"hangs{n}")
    until(lambda: len(world.settled) == 2, "both given up")
    assert all(how.startswith("RECEIVE_TIMEOUT") for _, how in world.settled)
    assert world.worker.wait_idle(5)


# -- handling that fails


def test_a_message_whose_handling_fails_is_put_away_after_some_tries(world: World) -> None:
    def fails(_: object) -> None:
        raise RuntimeError("a fault of the platform")

    world.does["bad"] = fails
    world.deliver("bad")
    until(lambda: world.settled, "the end of it")
    assert world.tries["bad"] == HANDLING_TRIES
    (how,) = world.how("bad")
    assert how.startswith("HANDLING_FAILED: ")
    assert "a fault of the platform" in how
    assert str(HANDLING_TRIES) in how
    assert world.worker.wait_idle(5)


def test_what_the_platform_lacks_is_waited_for(world: World) -> None:
    def fails(_: object) -> None:
        if world.tries["waits"] <= 4 * HANDLING_TRIES:
            raise Unavailable("the disk is full")

    world.does["waits"] = fails
    world.deliver("waits")
    until(lambda: world.settled, "the end of it")
    assert world.settled == [("waits", "done")]


def test_tries_that_had_to_wait_do_not_count(world: World) -> None:
    def fails(_: object) -> None:
        n = world.tries["mixed"]
        raise Unavailable("the disk is full") if n % 2 else BadRequest("a fault")

    world.does["mixed"] = fails
    world.deliver("mixed")
    until(lambda: world.settled, "the end of it")
    assert world.tries["mixed"] == 2 * HANDLING_TRIES


def test_what_cannot_be_put_away_now_is_put_away_later(world: World) -> None:
    def fails(_: object) -> None:
        raise RuntimeError("a fault of the platform")

    world.does["bad"] = fails
    world.abandon_fails = [Unavailable("the disk is full") for _ in range(3)]
    world.deliver("bad")
    until(lambda: world.settled, "the end of it")
    assert world.how("bad")[0].startswith("HANDLING_FAILED: ")


def test_a_result_that_cannot_be_stored_is_put_away(world: World) -> None:
    world.settle_fails = lambda how: TypeError("not JSON") if how == "done" else None
    world.deliver("odd")
    until(lambda: world.settled, "the end of it")
    (how,) = world.how("odd")
    assert how.startswith("HANDLING_FAILED: ")
    assert "not JSON" in how
    assert world.worker.wait_idle(5)
    world.deliver("next")


def test_pauses_grow_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "AGAIN", 1.0)
    pauses = [pause_before(tries) for tries in range(1, 1000)]
    assert pauses[:4] == [1.0, 2.0, 4.0, 5.0]
    assert max(pauses) == steps.LONGEST
