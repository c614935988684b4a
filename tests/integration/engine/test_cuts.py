"""Redelivery after a death between any two changes of the stored data (design.md §4.5-§4.7).

A flow with state, a loop, an external call, three kinds of joins, a time-out and a store is run once for each
change it makes to the database, and dies just before that change; its messages come in random order. In the
end every step must have given what it gives when nothing happens.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from engine.adapters.embedded.bus import SqliteBus
from engine.adapters.embedded.documents import SqliteDocuments
from engine.adapters.embedded.state import SqliteState
from engine.ports import Doc, Query, Settlement, Where
from engine.services.webhooks import WebhookRequest
from tests.integration.engine.conftest import Lab, step

CHANGES = (
    (SqliteDocuments, ("insert", "put", "update", "update_many", "delete", "delete_many")),
    (SqliteState, ("apply", "drop")),
    (SqliteBus, ("publish", "settle")),
)
UTILS = "appmixer.utils"


class Died(BaseException):
    """The process is gone: nothing it still tries reaches the database."""


class World:
    """Counts changes, dies before the one numbered `cut`, and knows which messages are on the bus."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.changes = 0
        self.cut = -1
        self.dead = False
        self.waiting: set[str] = set()
        for adapter, names in CHANGES:
            for name in names:
                monkeypatch.setattr(adapter, name, self._dying(getattr(adapter, name)))
        settle, publish = SqliteBus.settle, SqliteBus.publish

        def settled(bus: Any, delivery: Any, settlement: Settlement) -> Any:
            done = settle(bus, delivery, settlement)
            done.result()
            self.waiting |= {message.id for message in settlement.publishes}
            return done

        def published(bus: Any, messages: Any) -> Any:
            self.waiting |= {message.id for message in messages}
            return publish(bus, messages)

        monkeypatch.setattr(SqliteBus, "settle", settled)
        monkeypatch.setattr(SqliteBus, "publish", published)

    def _dying(self, change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*args: Any, **options: Any) -> Any:
            if self.dead or self.changes == self.cut:
                self.dead = True
                raise Died
            self.changes += 1
            return change(*args, **options)

        return changed


def flow(store_id: str) -> dict[str, dict[str, Any]]:
    loop = "{{{$.@each@.item.correlationId}}}"
    joined = "{{{$.@join@.out.items}}}"
    join = step(f"{UTILS}.controls.JoinEach", ("call", "out"), fields={"correlationId": loop})
    expected = {"count": "{{{$.@each@.done.count}}}", "correlationId": "{{{$.@each@.done.correlationId}}}"}
    join["source"]["count"] = {"@each@": ["done"]}
    join["config"]["transform"]["count"] = {"@each@": {"done": {"type": "json2new", "lambda": expected}}}
    return {
        "hook": step("Hook"),
        "each": step(f"{UTILS}.controls.Each", ("hook", "out"), fields={"list": "[0, 1, 2]"}),
        "counter": step(
            f"{UTILS}.controls.Counter", ("each", "item"), port="item", properties={"count": 0, "increment": 1}
        ),
        "call": step("Call", ("counter", "count"), fields={"n": "{{{$.@each@.item.value}}}"}),
        "join": join,
        "pair": {
            "type": "test.lab.core.Pair",
            "source": {"a": {"@hook@": ["out"]}, "b": {"@join@": ["out"]}},
            "config": {"transform": {"b": {"@join@": {"out": {"type": "json2new", "lambda": {"items": joined}}}}}},
        },
        "later": step("Later", ("pair", "out"), fields={"items": joined}),
        "set": step(
            f"{UTILS}.storage.Set",
            ("later", "out"),
            fields={"storeId": store_id, "key": "result", "value": "{{{$.@later@.out.text}}}"},
        ),
    }


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


@pytest.fixture
def cutting(lab: Lab, world: World) -> Cutting:
    port = [{"name": "in", "schema": {"type": "object"}}]
    lab.component(
        "Call",
        """
        calls = []
        def receive(self, c):
            self.calls.append(c.messages["in"].content["n"])
            c.send({"n": c.messages["in"].content["n"]}, "out")
        """,
        inPorts=port,
    )
    lab.component(
        "Pair",
        'effects = "state"\ndef receive(self, c):\n    c.send({"ports": sorted(c.messages)}, "out")',
        inPorts=[{**port[0], "name": "a"}, {**port[0], "name": "b"}],
        firePatterns=[1, 1],
    )
    lab.component(
        "Later",
        """
        effects = "state"
        def receive(self, c):
            if "timeout" in c.messages:
                c.send({"text": c.messages["timeout"].content}, "out")
            else:
                c.set_timeout(str(sorted(i["n"] for i in c.messages["in"].content["items"])), 5000)
        """,
        inPorts=port,
    )
    lab.open(start=False)
    return Cutting(lab, world)


class Cutting:
    def __init__(self, lab: Lab, world: World) -> None:
        self.lab = lab
        self.world = world
        self.calls: list[Any] = lab.platform.catalogue.require("test.lab.core.Call").behaviour.calls  # type: ignore[attr-defined]

    def run(self, cut: int, seed: int) -> tuple[dict[str, Any], int]:
        """Run a new flow to its end, dying before its change number `cut`; → (what came of it, its changes)."""
        world, platform = self.world, self.lab.platform
        store_id = platform.stores.create(self.lab.caller.user_id, f"s{cut}-{seed}")
        flow_id = self.lab.flow(flow(store_id))
        self.calls.clear()
        chance = random.Random(seed)
        request = WebhookRequest("POST", "lab", {}, {}, {"n": 1}, enqueue_only=True)
        platform.webhooks.accept(flow_id, self.lab.ids["hook"], request)
        world.changes, world.cut = 0, cut
        died = False
        while True:
            again = self._deliver(chance, died)
            died = died or again
            if not world.waiting and not self._time_passes():
                break
        world.cut = -1
        return self._summary(flow_id, store_id), world.changes

    def _deliver(self, chance: random.Random, again: bool) -> bool:
        """Execute what is on the bus, in random order; whether the process died."""
        world, platform = self.world, self.lab.platform
        while world.waiting:
            message_id = chance.choice(sorted(world.waiting))
            (delivery,) = platform.bus.take([message_id])
            try:
                outcome = platform.execution.run(delivery.message, external=1, again=again)
                if not world.dead:
                    platform.bus.settle(delivery, outcome.settlement()).result()
                    world.waiting.discard(message_id)
            except Died:
                pass
            if world.dead:
                world.dead, world.cut = False, -1
                return True
        return False

    def _time_passes(self) -> bool:
        self.lab.clock.ms += 10_000
        try:
            return bool(self.lab.platform.timers.fire_due())
        except Died:
            self.world.dead, self.world.cut = False, -1
            return True

    def _summary(self, flow_id: str, store_id: str) -> dict[str, Any]:
        platform = self.lab.platform
        records: list[Doc] = []
        while (batch := platform.bus.take_logs(10_000, 0)) is not None:
            records += batch.records
            platform.bus.logs_done(batch)
        names = {cid: name for name, cid in self.lab.ids.items()}
        mine = [r for r in records if r.get("flowId") == flow_id]
        assert len({r["id"] for r in mine}) == len(mine), "a log record was written twice"
        given = Counter(
            (names[r["componentId"]], r["port"], _plain(names[r["componentId"]], r["msg"]))
            for r in mine
            if r.get("portType") == "out"
        )
        where = Query(where=(Where("flowId", "eq", flow_id),))
        return {
            "outputs": given,
            "open": sum(r["delta"] for r in mine if r["type"] == "delivery"),
            "errors": [r["msg"] for r in mine if r.get("severity") == "error"],
            "stored": [entry["value"] for entry in platform.stores.entries(self.lab.caller.user_id, store_id)],
            "left": [platform.documents.count(kind, where) for kind in ("timers", "unprocessed", "ledger", "windows")],
        }


def _plain(name: str, text: str) -> str:
    """Contents without the ids of messages and times."""
    content = orjson.loads(text)
    if name == "each":
        content = {k: v for k, v in content.items() if k != "correlationId"}
    if name == "join":
        content = sorted(item["n"] for item in content["items"])
    if name == "set":
        content = [content["oldValue"], content["newValue"]]
    return orjson.dumps(content, option=orjson.OPT_SORT_KEYS).decode()


ORDERS = 4
"""Orders of the messages that each cut is tried with."""


def test_a_death_before_any_change_changes_nothing(cutting: Cutting) -> None:
    expected, changes = cutting.run(-1, 0)
    assert expected["stored"] == ["[0, 1, 2]"]
    assert expected["open"] == 0
    assert expected["errors"] == []
    assert expected["left"] == [0, 0, 0, 0]
    assert sorted(cutting.calls) == [0, 1, 2]
    assert changes > 20
    repeated = 0
    for seed in range(ORDERS):
        for cut in range(changes):
            found, _ = cutting.run(cut, seed)
            assert found == expected, f"after a death before change {cut} of {changes}, order {seed}"
            repeated += len(cutting.calls) - 3
    # a call is made again only when the process died between it and its entry in the ledger
    assert repeated == 3 * ORDERS
