from __future__ import annotations

from typing import Any

import orjson
import pytest

from engine.model.times import iso
from engine.sdk import Incoming, StepError
from tests.connectors.recorder import Recorder, run, transform
from tests.connectors.world import START, World

STORAGE = "appmixer.utils.storage."
NOW = iso(START)
TIMES = {"createdAt": NOW, "updatedAt": NOW}


@pytest.fixture
def world() -> World:
    made = World()
    for key, value in (("a", 1), ("b", {"x": [1]}), ("null", None)):
        made.stores.set("s1", key, value)
    return made


def step(world: World, type: str, **fields: Any) -> list[tuple[str, Any]]:
    return run(STORAGE + type, {"in": {"storeId": "s1"} | fields}, world=world).sent


def value(world: World, key: str) -> Any:
    return (world.stores.get("s1", key) or {}).get("value")


# -- one value


@pytest.mark.parametrize("new", ["text", 5, None, False, {"a": [1]}, []])
def test_set(world: World, new: Any) -> None:
    assert step(world, "Set", key="a", value=new) == [("out", {"key": "a", "oldValue": 1, "newValue": new, **TIMES})]
    assert value(world, "a") == new
    assert step(world, "Set", key="new", value=1)[0][1]["oldValue"] is None


def test_set_keeps_the_date_of_creation(world: World) -> None:
    world.advance(5_000)
    [(_, change)] = step(world, "Set", key="a", value=2)
    assert (change["createdAt"], change["updatedAt"]) == (NOW, iso(START + 5_000))


def test_get(world: World) -> None:
    assert step(world, "Get", key="b") == [("out", {"key": "b", "value": {"x": [1]}, **TIMES})]


@pytest.mark.parametrize("key", ["missing", "null"])
def test_get_of_nothing(world: World, key: str) -> None:
    assert step(world, "Get", key=key) == [("notFound", {"key": key})]


@pytest.mark.parametrize("kept", [0, False, "", [], {}])
def test_empty_values_are_found(world: World, kept: Any) -> None:
    world.stores.set("s1", "k", kept)
    assert step(world, "Get", key="k")[0] == ("out", {"key": "k", "value": kept, **TIMES})


def test_remove(world: World) -> None:
    assert step(world, "Remove", key="a") == [("removed", {"key": "a", "oldValue": 1})]
    assert step(world, "Remove", key="a") == [("removed", {"key": "a", "oldValue": None})]


@pytest.mark.parametrize(
    "operator, old, operand, new",
    [
        ("Add", 1, "2", 3),
        ("Add", None, 2.5, 2.5),
        ("Add", "1", True, 2),
        ("Add", 0.5, 0.5, 1),
        ("Add", "text", 1, None),
        ("Subtract", 1, 3, -2),
        ("Multiply", 3, "4", 12),
        ("Multiply", None, 4, 0),
        ("Divide", 3, 2, 1.5),
        ("Divide", 3, 0, None),
        ("Append", "a", "b", "ab"),
        ("Append", None, "b", "b"),
        ("Append", 1, 2, "12"),
        ("Append", {"a": 1}, [2], '{"a":1}[2]'),
        ("Set", 1, {"x": 1}, {"x": 1}),
    ],
)
def test_modify(world: World, operator: str, old: Any, operand: Any, new: Any) -> None:
    if old is not None:
        world.stores.set("s1", "n", old)
    [(port, change)] = step(world, "Modify", key="n", operator=operator, value=operand)
    assert port == "out"
    assert change == {"key": "n", "oldValue": old, "newValue": new, **TIMES}
    assert type(change["newValue"]) is type(new)


def test_modify_is_one_indivisible_change(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between reading and writing somebody else may write: then the calculation is done again."""
    calls: list[Any] = []

    def modify(store_id: str, key: str, change: Any) -> dict[str, Any]:
        calls.extend([change(1), change(41)])
        return {"key": key, "oldValue": 41, "newValue": calls[-1], **TIMES}

    monkeypatch.setattr(world.stores, "modify", modify)
    assert step(world, "Modify", key="a", operator="Add", value=1)[0][1]["newValue"] == 42
    assert calls == [2, 42]


@pytest.mark.parametrize("operator", ["add", "Power", ""])
def test_modify_knows_its_operators(world: World, operator: str) -> None:
    with pytest.raises(StepError, match="operator: must be one of Add, Subtract") as caught:
        step(world, "Modify", key="a", operator=operator, value=1)
    assert caught.value.retry_hint is False
    assert value(world, "a") == 1


# -- many values


def test_set_many_in_order(world: World) -> None:
    pairs = {"AND": [{"key": "a", "value": 2}, {"key": "c", "value": "x"}, {"key": "a", "value": 3}]}
    [(port, content)] = step(world, "SetMany", keyValuePairs=pairs)
    assert port == "out"
    assert [(r["key"], r["oldValue"], r["newValue"]) for r in content["results"]] == [
        ("a", 1, 2),
        ("c", None, "x"),
        ("a", 2, 3),
    ]
    assert all(r["updatedAt"] == NOW for r in content["results"])


@pytest.mark.parametrize("pairs", [{}, {"AND": []}, None, {"AND": [{}]}])
def test_set_many_of_nothing(world: World, pairs: Any) -> None:
    assert step(world, "SetMany", keyValuePairs=pairs) == [("out", {"results": []})]


def get_many(world: World, *keys: str) -> Recorder:
    content = {"storeId": "s1", "keys": {"AND": [{"key": key} for key in keys]}}
    return run(STORAGE + "GetMany", {"in": content}, world=world)


def test_get_many_leaves_out_what_is_missing(world: World) -> None:
    found = {"results": [{"key": "b", "value": {"x": [1]}, **TIMES}, {"key": "a", "value": 1, **TIMES}]}
    recorder = get_many(world, "b", "missing", "null", "a")
    assert recorder.sent == [("out", found)]
    assert recorder.response == (found, 200, {})


def test_get_many_of_nothing(world: World) -> None:
    recorder = get_many(world, "x", "null")
    assert recorder.sent == [("notFound", {"notFound": ["x", "null"]})]
    assert recorder.response == ({"notFound": ["x", "null"]}, 200, {})
    assert get_many(world).sent == [("notFound", {"keys": []})]


def test_find(world: World) -> None:
    [(port, content)] = step(world, "Find", pattern="^[ab]$")
    assert port == "out"
    assert [(item["key"], item["value"], item["storeId"]) for item in content["items"]] == [
        ("a", 1, "s1"),
        ("b", {"x": [1]}, "s1"),
    ]
    assert step(world, "Find", pattern="^z") == [("notFound", {"pattern": "^z", "items": []})]


# -- stores


def test_clear(world: World) -> None:
    assert step(world, "Clear") == [("cleared", {"deletedCount": 3, "storeId": "s1"})]
    assert step(world, "Clear") == [("cleared", {"deletedCount": 0, "storeId": "s1"})]


def test_create_store_reuses_the_store_of_that_name() -> None:
    world = World()
    [(port, made)] = run(STORAGE + "CreateStore", {"in": {"name": "mine"}}, world=world).sent
    assert port == "out"
    world.stores.set(made["storeId"], "a", 1)
    for clear, left in ((False, 1), (True, 0)):
        [(_, again)] = run(STORAGE + "CreateStore", {"in": {"name": "mine", "clear": clear}}, world=world).sent
        assert again == made
        assert len(world.stores.find(made["storeId"])) == left
    [(_, other)] = run(STORAGE + "CreateStore", {"in": {"name": "other", "clear": True}}, world=world).sent
    assert other != made


def test_list_stores_and_its_select() -> None:
    world = World()
    world.stores.create("mine")
    [(port, stores)] = run(STORAGE + "ListStores", {"in": None}, world=world).sent
    assert (port, stores) == ("out", [{"name": "mine", "storeId": "store-1"}])
    options = transform(STORAGE + "ListStores", "./ListStores#toSelectArray")(stores)
    assert options == [{"content": "mine", "value": "store-1"}]


# -- SaveToFile


def save(world: World, **fields: Any) -> tuple[str, str, str, int]:
    """→ name, media type, text, number of records."""
    [(port, out)] = step(world, "SaveToFile", **fields)
    assert port == "out"
    assert set(out) == {"fileId", "nRecords"}
    record = world.files.records[out["fileId"]]
    return record.filename, record.content_type, world.files.blobs[record.file_id].decode(), out["nRecords"]


def test_save_as_csv_with_spread_values() -> None:
    world = World()
    for key, kept in (("b", {"x": 1, "y": {"z": "a, b"}}), ("a", '{"x": 2}'), ("c", "plain"), ("d", [1])):
        world.stores.set("s1", key, kept)
    assert save(world) == (
        "new File",
        "text/csv",
        'key,value.x,value.y.z,value\na,2,,\nb,1,"a, b",\nc,,,plain\nd,,,[1]\n',
        4,
    )


def test_save_as_csv_without_spreading() -> None:
    world = World()
    for key, kept in (("a", {"x": 1}), ("b", 'say "x"'), ("c", None)):
        world.stores.set("s1", key, kept)
    text = 'key,value\na,"{""x"":1}"\nb,"say ""x"""\nc,\n'
    assert save(world, flattenValue=False, fileName="x.csv") == ("x.csv", "text/csv", text, 3)


def test_columns_come_from_the_first_ten_entries() -> None:
    world = World()
    for number in range(11):
        world.stores.set("s1", f"{number:02}", {"early": number} if number < 10 else {"late": 1, "early": 10})
    text = save(world)[2]
    assert text.startswith("key,value.early\n00,0\n")
    assert text.endswith("\n10,10\n")


def test_save_as_json_sorted() -> None:
    world = World()
    for key in ("b", "a"):
        world.stores.set("s1", key, {"k": key})
        world.advance(1_000)
    for sort, order in (("key", ["a", "b"]), ("createdAt", ["b", "a"]), ("updatedAt", ["b", "a"])):
        name, media, text, count = save(world, fileType="json", sortBy=sort, fileName="out")
        assert (name, media, count) == ("out", "application/json", 2)
        assert orjson.loads(text) == [{"key": key, "value": {"k": key}} for key in order]


def test_an_empty_store_makes_an_empty_file() -> None:
    assert save(World())[2:] == ("key\n", 0)
    assert orjson.loads(save(World(), fileType="json")[2]) == []


def test_a_large_store_is_read_page_by_page() -> None:
    world = World()
    for number in range(2_500):
        world.stores.set("s1", f"{number:05}", number)
    _, _, text, count = save(world)
    assert count == 2_500
    assert text.splitlines()[1:] == [f"{number:05},{number}" for number in range(2_500)]


@pytest.mark.parametrize("fields", [{"sortBy": "value"}, {"fileType": "xml"}])
def test_wrong_choices_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(StepError, match="sortBy must be one of key, createdAt, updatedAt"):
        save(World(), **fields)


# -- triggers

ENTRY = {"key": "k", "storeId": "s1", "value": 5, **TIMES}
EVENTS = {"OnItemAdded": "insert", "OnItemUpdated": "update", "OnItemRemoved": "delete"}


@pytest.mark.parametrize("type", EVENTS)
def test_triggers_register_and_unregister(type: str) -> None:
    recorder = Recorder(STORAGE + type, properties={"storeId": "s1"})
    recorder.start()
    assert recorder.world.stores.webhooks == {"s1": (EVENTS[type],)}
    recorder.stop()
    assert recorder.world.stores.webhooks == {}


@pytest.mark.parametrize("type", EVENTS)
@pytest.mark.parametrize("event", EVENTS.values())
def test_triggers_tell_of_their_own_event(type: str, event: str) -> None:
    data = {"type": event, "currentValue": ENTRY, "oldValue": 4}
    recorder = run(STORAGE + type, {"webhook": {"method": "POST", "data": data}}, properties={"storeId": "s1"})
    item = ENTRY | ({"oldValue": 4} if type == "OnItemUpdated" else {})
    assert recorder.sent == ([("item", item)] if EVENTS[type] == event else [])
    assert recorder.response == ("ok", 200, {})


@pytest.mark.parametrize("data", [None, {}, {"type": "other"}])
def test_other_calls_are_answered_and_ignored(data: Any) -> None:
    recorder = run(STORAGE + "OnItemAdded", {"webhook": {"data": data}}, properties={"storeId": "s1"})
    assert recorder.sent == []
    assert recorder.response == ("ok", 200, {})


# -- Store


def item(key: Any) -> Incoming:
    return Incoming({"key": key}, {"original": key})


def test_known_items() -> None:
    recorder = Recorder(STORAGE + "Store")
    for key in (1, "1", {"a": [1]}, None):
        content = {"original": key}
        assert recorder.receive({"remove": item(key)}).take() == []
        assert recorder.receive({"add": item(key)}).take() == [("new", content)]
        assert recorder.receive({"add": item(key)}).take() == [("updated", content)]
    assert recorder.receive({"remove": item(1)}).take() == [("removed", {"original": 1})]
    assert recorder.receive({"add": item("1")}).take() == [("updated", {"original": "1"})]
    assert recorder.receive({"add": item(1)}).take() == [("new", {"original": 1})]


def test_a_redelivered_item_is_still_new() -> None:
    recorder = Recorder(STORAGE + "Store")
    for _ in range(2):
        recorder.receive({"add": item("k")}, message_id="m1")
    assert recorder.take() == [("new", {"original": "k"})] * 2
