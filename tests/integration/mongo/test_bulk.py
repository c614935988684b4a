"""What a settlement stores in MongoDB, in one call."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from engine.adapters.mongo.connection import Mongo
from engine.adapters.mongo.documents import MongoDocuments
from engine.adapters.mongo.state import MongoState
from engine.errors import BadRequest, Conflict, NotFound
from engine.ports import Clock, StateChange, Write

LEDGER = Write("ledger", "m1:0", {"_id": "m1:0", "state": "done", "response": {"$odd": 1}})
TIMER = Write("timers", "t1", {"_id": "t1", "due": 5})
STATES = (
    StateChange("flow:f", "set", "a", {"x": 1}),
    StateChange("flow:f", "unset", "b"),
    StateChange("component:c", "save", "", {"seen": ["1"], "n": 2}),
    StateChange("component:c", "set", "n", 3),
)


@pytest.fixture
def state(mongo: Mongo, clock: Clock) -> MongoState:
    return MongoState(mongo, clock)


def test_nothing_to_do(documents: MongoDocuments) -> None:
    documents.bulk(())


@pytest.mark.parametrize("times", [1, 2])
def test_documents_and_states_are_stored(documents: MongoDocuments, state: MongoState, times: int) -> None:
    documents.put("timers", {"_id": "old", "due": 1})
    state.apply("flow:f", "1", "set", "b", 1)
    state.apply("component:c", "2", "set", "gone", 1)
    for _ in range(times):
        documents.bulk([LEDGER, TIMER, Write("timers", "old", None), Write("timers", "never there", None)], STATES)
    assert documents.get("ledger", "m1:0") == LEDGER.doc
    assert documents.find("timers") == [TIMER.doc]
    assert state.load("flow:f") == {"a": {"x": 1}}
    assert state.load("component:c") == {"seen": ["1"], "n": 3}


def test_of_writes_to_one_document_the_last_counts(documents: MongoDocuments) -> None:
    documents.bulk([TIMER, Write("timers", "t1", {"_id": "t1", "due": 6}), LEDGER, Write("ledger", "m1:0", None)])
    assert documents.get("timers", "t1") == {"_id": "t1", "due": 6}
    assert documents.get("ledger", "m1:0") is None


@pytest.mark.parametrize(
    ("write", "states", "error"),
    [
        (Write("users", "2", {"_id": "2", "username": "ann"}), (), Conflict),
        (Write("users", "2", {"_id": "2", "password": object()}), (), BadRequest),
        (Write("nonsense", "2", {"_id": "2"}), (), NotFound),
        (TIMER, (StateChange("flow:f", "set", "a", object()),), BadRequest),
    ],
)
def test_all_or_nothing(
    documents: MongoDocuments, state: MongoState, write: Write, states: Any, error: type[Exception]
) -> None:
    documents.put("users", {"_id": "1", "username": "ann"})
    with pytest.raises(error):
        documents.bulk([LEDGER, write], [*STATES, *states])
    assert documents.get("ledger", "m1:0") is None
    assert documents.get("timers", "t1") is None
    assert state.load("flow:f") == {}


def test_several_at_a_time_do_not_hurt_each_other(documents: MongoDocuments, state: MongoState) -> None:
    def settle(number: int) -> None:
        key = f"m{number}"
        documents.bulk(
            [Write("ledger", key, {"_id": key}), Write("timers", "shared", {"_id": "shared", "due": number})],
            [StateChange("flow:f", "set", "last", number), StateChange(f"flow:{number}", "set", "k", number)],
        )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(settle, range(40)))
    assert documents.count("ledger") == 40
    assert [state.get(f"flow:{number}", "k") for number in range(40)] == list(range(40))
    last = documents.find("timers")[0]["due"]
    assert state.get("flow:f", "last") == last
