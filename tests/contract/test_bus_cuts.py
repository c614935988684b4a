"""The bus is cut between every two operations of its settlements: it ends as if nothing had happened.

A small engine runs on the bus: messages branch, keep documents, log, and meet again in a join. As in the real
one, ids come from causes and what is stored is known by its id. It is cut, by a kill or by a lost connection,
and whatever is delivered again is done again, in any order.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

import pytest

from engine.adapters.embedded.database import Database
from engine.adapters.rabbit.bus import STEP_QUEUES
from engine.adapters.rabbit.topology import SUSPECTS
from engine.errors import DeliveryLost, Unavailable
from engine.model.message import Message, derived_id
from engine.ports import Bus, Delivery, Query, Settlement, Where, Write
from tests import rabbit_server
from tests.contract.buses import WAIT, Embedded, Installation, Rabbit, message, until

BRANCHES = 3
DEEPEST = 2
LEAVES = BRANCHES**DEEPEST
STAGES = ("write", "send", "_confirmed", "write_last", "acknowledge", "finish")
Cut = Callable[[str, str], bool]
"""Whether to cut when the settlement of the message named second is about to enter the stage named first."""


class Breakable(Protocol):
    """An installation whose settlements can be cut; `dead` is set when the process counts as killed."""

    @property
    def under(self) -> Installation: ...

    dead: threading.Event

    def arm(self, cut: Cut, *, kill: bool) -> None: ...
    def again(self) -> None:
        """Start a new process in the place of the killed one."""


class BreakableEmbedded:
    """One transaction: it can be cut before it and after it, before anybody is told."""

    def __init__(self, folder: Path) -> None:
        self.under = Embedded(folder, setattr)
        self.dead = threading.Event()

    def arm(self, cut: Cut, *, kill: bool) -> None:
        self._cut = cut
        commit = Database._commit
        database = self.under.database

        def cut_commit(jobs: list[Any]) -> None:
            name = str(jobs[0].future)
            if not self.dead.is_set() and self._cut("write", name):
                self.dead.set()
            if not self.dead.is_set() and self._cut("finish", name):
                self.dead.set()
                commit(database, [type(job)(job.work, job.rows, None) for job in jobs])
            if self.dead.is_set():
                for job in jobs:
                    job.future.set_exception(Unavailable("killed"))
                return
            commit(database, jobs)

        database._commit = cut_commit  # type: ignore[method-assign]

    def again(self) -> None:
        self.under.crash()
        self.dead.clear()
        self.arm(self._cut, kill=True)


class BreakableRabbit:
    def __init__(self, under: Rabbit) -> None:
        self.under = under
        self.dead = threading.Event()

    def arm(self, cut: Cut, *, kill: bool) -> None:
        self._cut, self._kill = cut, kill
        for stage in STAGES:
            self._wrap(stage)

    def _wrap(self, stage: str) -> None:
        bus = self.under.bus
        go_on = getattr(bus._pipeline, stage)

        def wrapped(job: Any, *more: Any) -> None:
            if self.dead.is_set():
                return
            if job.delivery is not None and self._cut(stage, job.delivery.message.id):
                if self._kill:
                    self.dead.set()
                    self.under.out_of_order = True
                    rabbit_server.kill(bus)
                    return
                rabbit_server.cut(bus)
            go_on(job, *more)

        setattr(bus._pipeline, stage, wrapped)

    def again(self) -> None:
        rabbit_server.bury(self.under.bus)
        self.under.out_of_order = False
        self.under.bus = self.under.open()
        self.dead.clear()
        self.arm(self._cut, kill=self._kill)


@pytest.fixture(params=["embedded", "rabbit"])
def breakable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Breakable]:
    opened: Breakable
    if request.param == "embedded":
        opened = BreakableEmbedded(tmp_path)
    else:
        url = rabbit_server.shared_url()
        rabbit_server.clear(url)
        queues = (*STEP_QUEUES, SUSPECTS)  # what was killed with its process several times is there
        opened = BreakableRabbit(Rabbit(url, request.getfixturevalue("mongo")[1], queues))
    yield opened
    opened.under.close()


class Engine:
    """Executes what is delivered, in an order of its own, and settles it."""

    def __init__(self, breakable: Breakable, order: random.Random) -> None:
        self._breakable = breakable
        self._order = order
        self._held: list[Delivery] = []
        self.executed: list[str] = []

    @property
    def bus(self) -> Bus:
        return self._breakable.under.bus  # type: ignore[no-any-return]

    def run(self, messages: int) -> None:
        """Until so many have said that they are done, and nothing is left."""
        self.bus.consume(self._held.append, 50)

        def done() -> bool:
            if self._breakable.dead.is_set():
                self._held.clear()
                self._breakable.again()
                self.bus.consume(self._held.append, 50)
            try:
                self._work()
                documents = self._breakable.under.documents
                return documents.count("windows") >= messages and self.bus.depth() == 0
            except Unavailable:
                assert self._breakable.dead.is_set()
                return False

        until(done, f"all {messages} messages are done", 60)

    def _work(self) -> None:
        batch = [self._held.pop() for _ in range(len(self._held))]
        self._order.shuffle(batch)
        for delivery in batch:
            if self._breakable.dead.is_set():
                return
            self.executed.append(delivery.message.id)
            self._settle(delivery, self._execute(delivery.message))

    def _settle(self, delivery: Delivery, settlement: Settlement) -> None:
        bus = self.bus

        def told(done: Future[None]) -> None:
            error = done.exception()
            if error is not None and not isinstance(error, DeliveryLost) and not self._breakable.dead.is_set():
                self._settle(delivery, settlement)

        if not self._breakable.dead.is_set():
            bus.settle(delivery, settlement).add_done_callback(told)

    def _execute(self, incoming: Message) -> Settlement:
        key, depth = incoming.id, incoming.content["depth"]
        settlement = Settlement(
            logs=[{"id": f"{key}.0", "created": 1, "flowId": "flow", "msg": str(depth)}],
            writes=[Write("timers", key, {"_id": key, "due": depth, "flowId": "flow"})],
            last=[Write("windows", key, {"_id": key, "emitted": depth, "flowId": "flow"})],
        )
        if depth < DEEPEST:
            settlement.publishes = [
                message("flow", {"depth": depth + 1}, derived_id(key, "child", n)) for n in range(BRANCHES)
            ]
        elif depth == DEEPEST and self._joins(key):
            settlement.publishes = [message("flow", {"depth": DEEPEST + 1}, derived_id("root", "joined"))]
        return settlement

    def _joins(self, key: str) -> bool:
        """Stored at once, as the engine's joins are: one item a message, and one message that fires."""
        documents = self._breakable.under.documents
        documents.insert("gather_items", {"_id": key, "group": "g", "created": 1})
        if documents.count("gather_items", Query(where=(Where("group", "eq", "g"),))) < LEAVES:
            return False
        fired = {"_id": "g", "fired": key, "created": 1}
        return documents.insert("gather_groups", fired) or documents.get("gather_groups", "g") == fired


def expected() -> dict[str, int]:
    """Every message of the tree, and the one behind the join: how deep it is."""
    found = {"root": 0}
    level = ["root"]
    for depth in range(1, DEEPEST + 1):
        level = [derived_id(parent, "child", n) for parent in level for n in range(BRANCHES)]
        found.update(dict.fromkeys(level, depth))
    found[derived_id("root", "joined")] = DEEPEST + 1
    return found


def check(breakable: Breakable, cut: Cut, *, kill: bool, seed: int = 1) -> Engine:
    """Run the tree with these cuts; nothing may be missing, and nothing may be there that should not."""
    under = breakable.under
    under.bus.publish([message("flow", {"depth": 0}, "root")]).result(WAIT)
    armed = True
    breakable.arm(lambda stage, key: armed and cut(stage, key), kill=kill)
    engine = Engine(breakable, random.Random(seed))
    wanted = expected()
    engine.run(len(wanted))
    armed = False
    for name, what in (("timers", "due"), ("windows", "emitted")):
        assert {doc["_id"]: doc[what] for doc in under.documents.find(name)} == wanted
    assert under.documents.count("gather_items") == LEAVES
    assert under.documents.count("gather_groups") == 1
    logged: list[str] = []
    while (batch := under.bus.take_logs(1_000, 0.3)) is not None:
        logged += [record["id"] for record in batch.records]
        under.bus.logs_done(batch)
    assert set(logged) == {f"{key}.0" for key in wanted}
    return engine


def once_each(stage: str) -> Cut:
    """The first time that each of some messages enters the stage."""
    seen: set[str] = set()

    def cut(at: str, key: str) -> bool:
        first = at == stage and key not in seen and len(seen) < 5
        if first:
            seen.add(key)
        return first

    return cut


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kill", [True, False], ids=["killed", "cut off"])
def test_a_cut_before_each_operation(breakable: Breakable, stage: str, kill: bool) -> None:
    if isinstance(breakable, BreakableEmbedded) and (stage not in ("write", "finish") or not kill):
        pytest.skip("settles in one transaction, without a connection")
    check(breakable, once_each(stage), kill=kill)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_cuts_at_random(breakable: Breakable, seed: int) -> None:
    chance = random.Random(seed)
    left = 8

    def cut(_stage: str, _key: str) -> bool:
        nonlocal left
        if left and chance.random() < 0.15:
            left -= 1
            return True
        return False

    check(breakable, cut, kill=bool(seed % 2), seed=seed)


def test_without_cuts_everything_is_executed_once(breakable: Breakable) -> None:
    engine = check(breakable, lambda _stage, _key: False, kill=False)
    assert sorted(engine.executed) == sorted(expected())
