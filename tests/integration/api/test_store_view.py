"""`context.stores`: what a component does with its owner's data stores (engine.md §3)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from engine import wiring
from engine.errors import BadRequest, NotFound
from engine.sdk import Stores

USER = "owner"


@pytest.fixture
def operations() -> list[str]:
    """Ids of operations to come; when empty, each call has one of its own."""
    return []


@pytest.fixture
def view(platform: wiring.Platform, operations: list[str]) -> Stores:
    from engine.model.message import new_id

    return platform.stores.view(USER, "flow", "component", lambda: operations.pop(0) if operations else new_id())


@pytest.fixture
def store_id(view: Stores) -> str:
    return view.create("things")


def test_set_get_remove(view: Stores, store_id: str) -> None:
    assert view.list() == [{"name": "things", "storeId": store_id}]
    assert view.get(store_id, "k") is None
    made = view.set(store_id, "k", 1)
    assert (made["key"], made["oldValue"], made["newValue"]) == ("k", None, 1)
    assert set(made) == {"key", "oldValue", "newValue", "createdAt", "updatedAt"}
    assert view.set(store_id, "k", 2)["oldValue"] == 1
    entry = view.get(store_id, "k")
    assert entry is not None
    assert (entry["key"], entry["value"], entry["storeId"]) == ("k", 2, store_id)
    assert view.remove(store_id, "k") == {"key": "k", "oldValue": 2}
    assert view.remove(store_id, "k") == {"key": "k", "oldValue": None}


def test_modify_loses_nothing_to_others(view: Stores, store_id: str) -> None:
    def add(_n: int) -> Any:
        return view.modify(store_id, "n", lambda old: (old or 0) + 1)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(add, range(80)))
    entry = view.get(store_id, "n")
    assert entry is not None
    assert entry["value"] == 80
    assert sorted(answer["newValue"] for answer in answers) == list(range(1, 81))


def test_a_function_that_changes_its_argument_does_not_change_the_old_value(view: Stores, store_id: str) -> None:
    view.set(store_id, "k", [1])

    def append(old: Any) -> Any:
        old.append(2)
        return old

    changed = view.modify(store_id, "k", append)
    assert (changed["oldValue"], changed["newValue"]) == ([1], [1, 2])


def test_a_repeated_operation_changes_nothing(view: Stores, store_id: str, operations: list[str]) -> None:
    operations.extend(["m:1", "m:2", "m:1", "m:2"])
    first = view.modify(store_id, "n", lambda old: (old or 0) + 10)
    second = view.modify(store_id, "n", lambda old: old + 1)
    assert view.modify(store_id, "n", lambda old: (old or 0) + 10)["newValue"] == first["newValue"] == 10
    again = view.modify(store_id, "n", lambda old: old + 1)
    assert (again["oldValue"], again["newValue"]) == (second["oldValue"], second["newValue"]) == (10, 11)
    entry = view.get(store_id, "n")
    assert entry is not None
    assert entry["value"] == 11


def test_large_values_are_not_piled_up_as_history(view: Stores, store_id: str, platform: wiring.Platform) -> None:
    for n in range(30):
        view.set(store_id, "k", "x" * 10_000 + str(n))
    stored = platform.documents.get("store_entries", f"{store_id}:k")
    assert stored is not None
    assert len(stored["ops"]) == 1


def fill(view: Stores, store_id: str, n: int = 230) -> None:
    for i in range(n):
        view.set(store_id, f"k{i:03}", {"n": i, "tags": ["even"] if i % 2 == 0 else []})


def found(entries: list[dict[str, Any]]) -> list[str]:
    return [entry["key"] for entry in entries]


def test_find_by_pattern_and_query(view: Stores, store_id: str) -> None:
    fill(view, store_id)
    assert found(view.find(store_id, pattern="^k00[12]$")) == ["k001", "k002"]
    assert found(view.find(store_id, pattern="^K001$")) == ["k001"]
    assert len(view.find(store_id)) == 230
    assert found(view.find(store_id, query={"key": "k007"})) == ["k007"]
    assert found(view.find(store_id, query={"value.n": {"$gte": 228}})) == ["k228", "k229"]
    evens = view.find(store_id, query={"value.tags": "even"})
    assert found(evens) == [f"k{i:03}" for i in range(0, 230, 2)]
    assert found(view.find(store_id, query={"value.tags": "even"}, limit=2, offset=3)) == ["k006", "k008"]
    assert found(view.find(store_id, query={"value.n": {"$lt": 3}}, sort="key:-1")) == ["k002", "k001", "k000"]
    assert found(view.find(store_id, sort="key:-1", limit=1)) == ["k229"]
    both = view.find(store_id, pattern="k00", query={"value.n": {"$gt": 7}})
    assert found(both) == ["k008", "k009"]


@pytest.mark.parametrize(
    "call",
    [
        lambda view, store: view.find(store, query={"key": {"$foo": 1}}),
        lambda view, store: view.find(store, pattern="("),
        lambda view, store: view.find(store, sort="key:up"),
        lambda view, store: view.set(store, "", 1),
        lambda view, store: view.set(store, "k" * 1025, 1),
        lambda view, store: view.set(store, 5, 1),
        lambda view, store: view.set(store, "k", object()),
        lambda view, store: view.create(""),
        lambda view, store: view.register_webhook(store, ["change"]),
    ],
)
def test_bad_input_is_refused(view: Stores, store_id: str, call: Callable[[Stores, str], object]) -> None:
    with pytest.raises(BadRequest):
        call(view, store_id)


@pytest.mark.parametrize(
    "call",
    [
        lambda view, store: view.get(store, "k"),
        lambda view, store: view.set(store, "k", 1),
        lambda view, store: view.modify(store, "k", lambda old: 1),
        lambda view, store: view.remove(store, "k"),
        lambda view, store: view.clear(store),
        lambda view, store: view.find(store),
        lambda view, store: view.find(store, query={"key": "k"}),
        lambda view, store: view.register_webhook(store),
        lambda view, store: view.get(None, "k"),
        lambda view, store: view.get("unknown", "k"),
    ],
)
def test_other_peoples_stores_do_not_exist(
    platform: wiring.Platform, store_id: str, call: Callable[[Stores, str], object]
) -> None:
    with pytest.raises(NotFound):
        call(platform.stores.view("somebody else", "f", "c"), store_id)
