"""Executions in MongoDB: each record counts once, whoever adds it, however often and whenever something breaks."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pymongo.errors import AutoReconnect

from engine.adapters.mongo import executions as module
from engine.adapters.mongo.connection import Mongo
from engine.adapters.mongo.execution_query import _filter
from engine.adapters.mongo.executions import SEEN, MongoExecutions
from engine.errors import Unavailable
from engine.model.execution import ExecutionQuery, ExecutionRow
from engine.model.message import first_id
from engine.model.times import from_iso
from engine.ports import Doc
from tests import mongo_server

MARCH = from_iso("2026-03-15T12:00:00Z")


@pytest.fixture
def mongo() -> Iterator[Mongo]:
    mongo, _ = mongo_server.shared()
    yield mongo
    for name in ("sums_executions", "sums_counted"):
        mongo.database[name].delete_many({})


@pytest.fixture
def sums(mongo: Mongo) -> MongoExecutions:
    return MongoExecutions(mongo, prefix="sums_")


def delivery(name: str, n: int, **changes: Any) -> Doc:
    return {
        "id": f"{name}.{n}", "created": MARCH + n, "type": "delivery", "flowId": "f1",
        "correlationId": first_id(MARCH, name), "run": 1, "revision": 1, "trigger": None, "delta": 0, "steps": 1,
        **changes,
    }  # fmt: skip


def the(sums: MongoExecutions, name: str) -> ExecutionRow:
    (row,) = sums.find(ExecutionQuery(correlation_ids=(first_id(MARCH, name),)))
    return row


def whole(name: str, length: int) -> list[Doc]:
    """All records of an execution that ends."""
    first = delivery(name, 0, trigger="hook", delta=length - 1, steps=0)
    return [first, *(delivery(name, n, delta=-1) for n in range(1, length))]


def test_several_indexers_at_once(mongo: Mongo) -> None:
    records = [one for name in "abcdefgh" for one in whole(name, 60)]

    def index(seed: int) -> None:
        chance = random.Random(seed)
        mine = [*records, *chance.sample(records, 100)]
        chance.shuffle(mine)
        sums = MongoExecutions(mongo, prefix="sums_")
        while mine:
            size = chance.randint(1, 60)
            sums.append(mine[:size], [])
            mine = mine[size:]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(index, range(4)))
    sums = MongoExecutions(mongo, prefix="sums_")
    rows = sums.find(ExecutionQuery())
    assert [(row.status, row.steps, row.started, row.last) for row in rows] == [
        ("succeeded", 59, MARCH, MARCH + 59)
    ] * 8


def test_a_large_execution_keeps_a_small_document(sums: MongoExecutions, mongo: Mongo) -> None:
    records = whole("a", 5 * SEEN)
    for size in (7, 390, 1000):
        for start in range(0, len(records), size):
            sums.append(records[start : start + size], [])
    row = the(sums, "a")
    assert (row.status, row.steps) == ("succeeded", 5 * SEEN - 1)
    (doc,) = mongo.database["sums_executions"].find({})
    assert len(doc["seen"]) <= SEEN * 12
    assert mongo.database["sums_counted"].count_documents({}) <= len(records)


@pytest.mark.parametrize("length", [3, SEEN + 50])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_batch_cut_off_anywhere_and_appended_again(
    sums: MongoExecutions, monkeypatch: pytest.MonkeyPatch, length: int, when: str
) -> None:
    """The connection is lost before or after each request of an append in turn."""
    real = module._bulk
    batches = [whole(f"{when}{length}", length)[: length // 2], whole(f"{when}{length}", length)[length // 2 :]]
    for cut in range(3):
        calls = 0

        def bulk(table: Any, writes: Any, cut: int = cut) -> Any:
            nonlocal calls
            calls += 1
            if when == "after":
                done = real(table, writes)
            if calls == cut + 1:
                raise AutoReconnect("cut off")
            return done if when == "after" else real(table, writes)

        for batch in batches:
            calls = 0
            monkeypatch.setattr(module, "_bulk", bulk)
            try:
                sums.append(batch, [])
            except Unavailable:
                pass
            monkeypatch.setattr(module, "_bulk", real)
            sums.append(batch, [])
            sums.append(batch, [])
    row = the(sums, f"{when}{length}")
    assert (row.status, row.steps) == ("succeeded", length - 1)


def test_a_stop_and_a_record_at_the_same_time(sums: MongoExecutions, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stop comes between reading the execution and writing it."""
    sums.append([delivery("a", 1, trigger="t", delta=1)], [])
    real = module._bulk
    stop = {"id": "s", "created": MARCH + 5, "type": "flow-stopped", "flowId": "f1", "run": 1, "reason": "stopped"}

    def bulk(table: Any, writes: Any) -> Any:
        monkeypatch.setattr(module, "_bulk", real)
        sums.append([], [stop])
        return real(table, writes)

    monkeypatch.setattr(module, "_bulk", bulk)
    sums.append([delivery("a", 2, delta=-1)], [])
    row = the(sums, "a")
    assert (row.status, row.reason, row.steps) == ("cancelled", "stopped", 2)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (ExecutionQuery(), "started_1"),
        (ExecutionQuery(flow_ids=("f1",)), "flowId_1_started_1"),
        (ExecutionQuery(flow_ids=("f1", "f2")), "flowId_1_started_1"),
        (ExecutionQuery(statuses=("failed", "running")), "other_1_flowId_1_started_1"),
        (ExecutionQuery(flow_ids=("f1",), statuses=("failed",)), "other_1_flowId_1_started_1"),
        (ExecutionQuery(correlation_ids=(first_id(MARCH, "n3"),)), "_id_"),
    ],
)
def test_lists_use_an_index(sums: MongoExecutions, mongo: Mongo, query: ExecutionQuery, index: str) -> None:
    other = {"flowId": "another"}
    failing = [delivery(f"n{n}", n, trigger="t", unprocessed=int(n % 50 == 0)) for n in range(300)]
    sums.append([*failing, *(delivery(f"o{n}", n, trigger="t", **other) for n in range(300))], [])
    plan = mongo.database["sums_executions"].find(_filter(query, None), sort=[("started", -1), ("correlationId", -1)])
    assert index in str(plan.explain()["queryPlanner"]["winningPlan"])
