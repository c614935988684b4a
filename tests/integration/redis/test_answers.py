"""Answers to webhook calls between processes, also while Redis is away or has lost something."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from engine.adapters.embedded.database import Database
from engine.adapters.embedded.documents import SqliteDocuments
from engine.adapters.embedded.query_sql import register_functions
from engine.model.message import Message
from engine.ports import Doc
from engine.services import replies as module
from engine.services.outcome import Outcome, Reply
from engine.services.replies import Replies, Waiter
from tests.integration.redis.conftest import MakeCache, Server, until

FLOW = "flow"


def message(number: int, cid: str = "") -> Message:
    key = f"m{number}"
    return Message(key, FLOW, 1, 1, "step", cid or key, "in", None, {}, 1_790_000_000_000)


class World:
    """A serving process and a worker, which share Redis and documents."""

    def __init__(self, process: MakeCache, documents: SqliteDocuments) -> None:
        self.documents = documents
        self.over: set[str] = set()
        self.told: list[Doc] = []
        self.caches = (process(), process())
        self.web, self.worker = (self._replies(cache) for cache in self.caches)

    def _replies(self, cache: Any) -> Replies:
        return Replies(
            cache,
            20.0,
            lambda _message, record: self.told.append(record),
            self.documents,
            lambda _flow, c: c in self.over,
        )

    def answer(self, number: int, status: int = 200) -> None:
        self.worker.settled(message(number), Outcome(reply=Reply(status, {"n": number})))


@pytest.fixture
def world(process: MakeCache, tmp_path: Path) -> Iterator[World]:
    database = Database(tmp_path / "headrace.db", on_connect=(register_functions,))
    yield World(process, SqliteDocuments(database))
    database.close()


Call = Callable[..., "Pending"]


class Pending:
    """A call that waits on a thread."""

    def __init__(self, world: World, number: int, pool: ThreadPoolExecutor, **options: Any) -> None:
        self._waits = threading.Event()
        self.waiter: Waiter | None = None
        self._done = pool.submit(self._wait, world, number, options)
        assert self._waits.wait(30)

    def _wait(self, world: World, number: int, options: dict[str, Any]) -> Reply | None:
        with world.web.waiting(f"m{number}", FLOW, **options) as self.waiter:
            self._waits.set()
            return self.waiter.wait(20)

    def result(self) -> Reply | None:
        return self._done.result(30)

    @property
    def answered(self) -> bool:
        return self._done.done()


@pytest.fixture
def call(world: World) -> Iterator[Call]:
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(250))
        yield lambda number, **options: Pending(world, number, pool, **{"fresh": True, **options})


def test_200_calls_wait_with_one_thread_that_hears(world: World, call: Call) -> None:
    pending = [call(n) for n in range(200)]
    assert [t.name for t in threading.enumerate()].count("redis notices") <= 2  # one a process
    for n in reversed(range(200)):
        world.answer(n, 200 + n % 50)
    replies = [one.result() for one in pending]
    assert [(r.status, r.body) for r in replies if r] == [(200 + n % 50, {"n": n}) for n in range(200)]
    assert world.documents.count("replies") == 0


def test_the_first_answer_wins_and_later_ones_are_told(world: World, call: Call) -> None:
    pending = call(1)
    world.answer(1, 201)
    world.answer(1, 202)
    reply = pending.result()
    assert reply is not None
    assert reply.status == 201
    assert ["202" in record["msg"] for record in world.told] == [True]


def test_the_end_of_an_execution_is_204_at_once(world: World, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK", 60.0)
    pending = call(1)
    both = [message(2, "m1"), message(3, "m1")]
    world.worker.settled(message(1), Outcome(publishes=both))
    world.worker.settled(both[0], Outcome())
    assert not pending.answered
    world.worker.settled(both[1], Outcome())
    reply = pending.result()
    assert reply is not None
    assert reply.status == 204


def test_a_notice_that_is_lost_costs_a_second_only(world: World, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    pending = call(1)
    monkeypatch.setattr(world.caches[1], "publish", lambda _channel, _text: None)
    world.answer(1)
    reply = pending.result()
    assert reply is not None
    assert reply.body == {"n": 1}


@pytest.mark.parametrize("when", ["before the call", "before the answer", "the worker only"])
def test_answers_go_through_documents_while_redis_is_away(
    server: Server, world: World, call: Call, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    if when == "before the call":
        server.kill()
    pending = call(1)
    if when == "before the answer":
        server.kill()
    elif when == "the worker only":
        monkeypatch.setattr(world.caches[1]._link, "trouble", world.caches[1]._link.lost(OSError("cut off")))
        monkeypatch.setattr(world.caches[1]._link, "restored", lambda: None)
    world.answer(1)
    world.answer(1, 500)
    assert world.documents.count("replies") == 1
    reply = pending.result()
    assert reply is not None
    assert (reply.status, reply.body) == (200, {"n": 1})
    assert ["500" in record["msg"] for record in world.told] == [True]


def test_an_answer_reaches_its_call_when_redis_has_forgotten_it(server: Server, world: World, call: Call) -> None:
    pending = call(1)
    server.empty()
    until(lambda: world.caches[1].get("none") is None, "an answer of Redis")
    world.answer(1, 201)
    reply = pending.result()
    assert reply is not None
    assert reply.status == 201


@pytest.mark.parametrize("empty", [True, False])
def test_without_counts_the_run_log_tells_the_end(
    server: Server, world: World, call: Call, monkeypatch: pytest.MonkeyPatch, empty: bool
) -> None:
    monkeypatch.setattr(module, "ASK_EVERY", 0.05)
    pending = call(1)
    server.empty() if empty else server.kill()
    world.worker.settled(message(1), Outcome())
    until(lambda: pending.waiter is not None and not pending.waiter.counted, "doubt")
    assert not pending.answered
    world.over.add("m1")
    reply = pending.result()
    assert reply is not None
    assert reply.status == 204


def test_a_count_that_redis_has_half_lost_does_not_end_a_call(
    server: Server, world: World, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ASK_EVERY", 0.05)
    pending = call(1)
    both = [message(2, "m1"), message(3, "m1")]
    world.worker.settled(message(1), Outcome(publishes=both))
    world.caches[0].delete("open:m1")  # the newest, as after a power cut
    server.kill()
    server.start()
    until(lambda: pending.waiter is not None and not pending.waiter.counted, "doubt")
    until(lambda: world.caches[1].get("awaited:m1") == 1, "an answer of Redis")
    world.worker.settled(both[0], Outcome())
    assert world.caches[1].get("open:m1") == -1
    world.worker.settled(both[1], Outcome(reply=Reply(201)))
    reply = pending.result()
    assert reply is not None
    assert reply.status == 201


def test_an_answer_after_the_time_was_up_reaches_who_asks_again(world: World, call: Call) -> None:
    with world.web.waiting("m1", FLOW, fresh=True):
        world.web.too_late("m1")
    joined = call(1, counted=False, fresh=False)
    world.answer(1, 201)
    reply = joined.result()
    assert reply is not None
    assert reply.status == 201
    assert not world.told


def test_a_joined_wait_disturbs_no_count(world: World, call: Call) -> None:
    first = call(1)
    joined = call(1, counted=False, fresh=False)
    world.worker.settled(message(1), Outcome(publishes=[message(2, "m1")]))
    world.worker.settled(message(2, "m1"), Outcome())
    replies = (first.result(), joined.result())
    assert [r.status for r in replies if r] == [204, 204]


def test_another_call_of_the_execution_does_not_get_the_former_answer(server: Server, world: World, call: Call) -> None:
    first = call(1)
    server.kill()
    world.answer(1, 201)
    assert first.result() is not None
    server.start()
    until(lambda: [cache.get("none") for cache in world.caches] == [None, None], "an answer of Redis")
    second = call(1, fresh=False)
    assert world.documents.count("replies") == 0
    world.answer(1, 202)
    reply = second.result()
    assert reply is not None
    assert reply.status == 202
