"""Contract of `ports.Documents`: reading, writing, conditions, concurrency. Queries: test_documents_query.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from engine.errors import BadRequest, Conflict, NotFound
from engine.ports import Documents, Query, Where

Together = Callable[..., list[Any]]


def test_a_document_comes_back_as_it_was_put(documents: Documents) -> None:
    doc: dict[str, Any] = {
        "_id": "u1/ü \"'%",
        "text": "zwei\nZeilen \u2028 \x00 \U0001f600",
        "number": 1.5,
        "big": 2**63,
        "nothing": None,
        "list": [1, {"a": []}],
        "flag": True,
    }
    assert documents.insert("config", doc)
    assert documents.get("config", doc["_id"]) == doc


ODD = {
    "": 1, "$ref": "users", "$id": "7", "$set": {"$inc": [{"$x": None}]}, "a.b": {"c.d": 2}, "n\0ul": "\0", "\ue000": 3,
    "\ue000\ue000": {"\ue0000": "$"}, "\ue0000\0": [], "ü": {"\0": {}},
}  # fmt: skip


def test_keys_may_be_any_text(documents: Documents) -> None:
    whole = {"_id": "a", **ODD, "in": [ODD]}
    documents.put("config", whole)
    assert documents.get("config", "a") == whole
    assert documents.find("config", Query(include=("$ref", "a.b"))) == [
        {"_id": "a", "$ref": "users", "a.b": {"c.d": 2}},
    ]
    assert documents.find("config", Query(exclude=("$set", "in", "a.b"), limit=1)) == [
        {"_id": "a", **{key: value for key, value in ODD.items() if key not in ("$set", "a.b")}},
    ]
    assert documents.count("config", Query((Where("$set.$inc.$x", "eq", None), Where("$ref", "eq", "users")))) == 1
    documents.put("config", {"_id": "b", "plain": {}})
    assert documents.update("config", "b", {"$odd": ODD, "plain.deep": ODD})
    assert documents.update_many("config", (Where("plain", "exists", True),), {"more": {"$": ODD}}) == 1
    assert documents.get("config", "b") == {"_id": "b", "plain": {"deep": ODD}, "$odd": ODD, "more": {"$": ODD}}
    assert documents.update("config", "b", {"$odd": None})
    assert "$odd" not in (documents.get("config", "b") or {})


@pytest.mark.parametrize("kind", ["objects", "lists"])
def test_documents_may_be_nested_deeply(documents: Documents, kind: str) -> None:
    deep: Any = "the end"
    for level in range(240):
        deep = {"$key" if level % 2 else "key": deep} if kind == "objects" else [level, deep]
    documents.put("config", {"_id": "a", "value": deep})
    documents.put("config", {"_id": "b"})
    assert documents.update("config", "b", {"value": deep})
    assert documents.get("config", "a") == {"_id": "a", "value": deep}
    assert documents.get("config", "b") == {"_id": "b", "value": deep}


def test_numbers_come_back_as_they_were(documents: Documents) -> None:
    numbers = [0, 1.0, -1, 2**31, 1_790_000_000_000, 2**53 + 1, -(2**63), 2**63 - 1, 2**64 - 1, 1e300, -0.5]
    documents.put("config", {"_id": "a", "numbers": numbers, "largest": 2**64 - 1})
    found = documents.get("config", "a") or {}
    assert found["numbers"] == numbers
    assert [type(number) for number in found["numbers"]] == [type(number) for number in numbers]
    assert documents.update("config", "a", {"numbers": [2**63]}, (Where("largest", "gt", 2**62),))
    assert documents.get("config", "a") == {"_id": "a", "numbers": [2**63], "largest": 2**64 - 1}


def test_what_is_given_is_stored_as_json(documents: Documents) -> None:
    documents.put("config", {"_id": "a", "pair": (1, 2), "nan": float("nan")})
    assert documents.get("config", "a") == {"_id": "a", "pair": [1, 2], "nan": None}


def test_an_unknown_id_is_none(documents: Documents) -> None:
    assert documents.get("config", "no") is None
    assert documents.delete("config", "no") is False
    assert documents.update("config", "no", {"a": 1}) is False


def test_an_unknown_collection_is_named(documents: Documents) -> None:
    with pytest.raises(NotFound, match="'nonsense'"):
        documents.get("nonsense", "1")


@pytest.mark.parametrize("doc", [{}, {"_id": 7}, {"_id": ""}, {"_id": None}])
def test_a_document_needs_a_text_id(documents: Documents, doc: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="_id"):
        documents.put("config", doc)


def test_what_is_not_json_is_refused(documents: Documents) -> None:
    with pytest.raises(BadRequest, match="config x"):
        documents.put("config", {"_id": "x", "value": object()})


def test_insert_leaves_an_existing_document_alone(documents: Documents) -> None:
    assert documents.insert("config", {"_id": "a", "n": 1}) is True
    assert documents.insert("config", {"_id": "a", "n": 2}) is False
    assert documents.get("config", "a") == {"_id": "a", "n": 1}


def test_put_replaces_the_whole_document(documents: Documents) -> None:
    documents.put("config", {"_id": "a", "old": 1})
    documents.put("config", {"_id": "a", "new": 2})
    assert documents.get("config", "a") == {"_id": "a", "new": 2}


def test_a_unique_index_is_kept_by_every_way_of_writing(documents: Documents) -> None:
    documents.insert("users", {"_id": "1", "username": "ann"})
    documents.insert("users", {"_id": "2", "username": "bob"})
    with pytest.raises(Conflict, match="username"):
        documents.insert("users", {"_id": "3", "username": "ann"})
    with pytest.raises(Conflict, match="username"):
        documents.put("users", {"_id": "2", "username": "ann"})
    with pytest.raises(Conflict, match="username"):
        documents.update("users", "2", {"username": "ann"})
    with pytest.raises(Conflict, match="username"):
        documents.update_many("users", (), {"username": "ann"})
    assert [user["username"] for user in documents.find("users", Query(sort=(("_id", 1),)))] == ["ann", "bob"]


def test_absent_values_are_not_duplicates(documents: Documents) -> None:
    assert documents.insert("users", {"_id": "1"})
    assert documents.insert("users", {"_id": "2"})


def test_update_sets_dotted_paths_and_none_removes(documents: Documents) -> None:
    documents.put("config", {"_id": "a", "keep": 1, "deep": {"x": 1, "y": 2}, "list": [{"n": 1}, {"n": 2}]})
    assert documents.update(
        "config", "a", {"deep.x": None, "deep.z.new": [3], "list.1.n": 5, "list.2": "end", "gone.not.there": None}
    )
    assert documents.get("config", "a") == {
        "_id": "a",
        "keep": 1,
        "deep": {"y": 2, "z": {"new": [3]}},
        "list": [{"n": 1}, {"n": 5}, "end"],
    }


def test_removing_an_item_keeps_the_places_of_the_others(documents: Documents) -> None:
    documents.put("config", {"_id": "a", "list": [1, 2, 3]})
    documents.update("config", "a", {"list.1": None})
    documents.update("config", "a", {"list.9": None})
    assert documents.get("config", "a") == {"_id": "a", "list": [1, None, 3]}


@pytest.mark.parametrize("path", ["_id", "_id.x", "", "a..b", ".a", "text.inside", "list.9", "list.x", "list.-1"])
def test_an_impossible_change_is_named_and_changes_nothing(documents: Documents, path: str) -> None:
    doc = {"_id": "a", "text": "t", "list": [1]}
    documents.put("config", doc)
    with pytest.raises(BadRequest):
        documents.update("config", "a", {"other": 1, path: 1})
    assert documents.get("config", "a") == doc


def test_update_holds_only_under_its_condition(documents: Documents) -> None:
    documents.put("flows", {"_id": "f", "stage": "stopped", "revision": 3})
    stopped = (Where("stage", "eq", "stopped"), Where("revision", "eq", 3))
    assert documents.update("flows", "f", {"stage": "starting"}, stopped)
    assert not documents.update("flows", "f", {"stage": "starting"}, stopped)
    assert documents.get("flows", "f") == {"_id": "f", "stage": "starting", "revision": 3}


def test_update_may_expect_that_a_field_is_absent(documents: Documents) -> None:
    documents.put("gather_groups", {"_id": "g"})
    unfired = (Where("fired", "exists", False),)
    assert documents.update("gather_groups", "g", {"fired": "op1"}, unfired)
    assert not documents.update("gather_groups", "g", {"fired": "op2"}, unfired)


def test_update_many_and_delete_many_tell_how_many(documents: Documents) -> None:
    for number in range(6):
        documents.put("timers", {"_id": f"t{number}", "flowId": "a" if number < 4 else "b", "due": number})
    where = (Where("flowId", "eq", "a"), Where("due", "gt", 0))
    assert documents.update_many("timers", where, {"run": 7}) == 3
    assert documents.count("timers", Query((Where("run", "eq", 7),))) == 3
    assert documents.delete_many("timers", where) == 3
    assert [doc["_id"] for doc in documents.find("timers", Query(sort=(("due", 1),)))] == ["t0", "t4", "t5"]


def test_one_failing_update_of_many_undoes_all(documents: Documents) -> None:
    documents.put("config", {"_id": "a", "box": {}})
    documents.put("config", {"_id": "b", "box": "plain"})
    with pytest.raises(BadRequest, match=r"box\.x"):
        documents.update_many("config", (), {"box.x": 1})
    assert documents.get("config", "a") == {"_id": "a", "box": {}}


def test_a_claim_is_won_by_exactly_one(documents: Documents, together: Together) -> None:
    documents.put("timers", {"_id": "t", "due": 1})
    free = (Where("by", "exists", False),)
    won = together(lambda number: documents.update("timers", "t", {"by": number}, free))
    assert sorted(won) == [False] * 7 + [True]


def test_an_insert_is_won_by_exactly_one(documents: Documents, together: Together) -> None:
    won = together(lambda number: documents.insert("ledger", {"_id": "m", "by": number}))
    assert sorted(won) == [False] * 7 + [True]


def test_an_update_of_many_is_won_as_a_whole(documents: Documents, together: Together) -> None:
    for number in range(40):
        documents.put("gather_items", {"_id": f"g:{number}", "group": "g", "created": number})
    waiting = (Where("group", "eq", "g"), Where("taken", "exists", False))
    taken = together(lambda number: documents.update_many("gather_items", waiting, {"taken": f"m{number}"}))
    assert sorted(taken) == [0] * 7 + [40]


def test_versioned_updates_lose_none(documents: Documents, together: Together) -> None:
    documents.put("store_entries", {"_id": "e", "value": 0})

    def count_up(_number: int) -> None:
        for _ in range(10):
            while True:
                seen = (documents.get("store_entries", "e") or {})["value"]
                if documents.update("store_entries", "e", {"value": seen + 1}, (Where("value", "eq", seen),)):
                    break

    together(count_up, threads=4)
    assert documents.get("store_entries", "e") == {"_id": "e", "value": 40}


def test_updates_of_different_fields_keep_each_other(documents: Documents, together: Together) -> None:
    documents.put("config", {"_id": "a", "seen": {}})
    together(lambda number: documents.update("config", "a", {f"seen.n{number}": number}))
    assert documents.get("config", "a") == {"_id": "a", "seen": {f"n{n}": n for n in range(8)}}


def test_delete_many_deletes_no_more_than_it_may(documents: Documents) -> None:
    for number in range(5):
        documents.put("unprocessed", {"_id": f"m{number}", "flowId": "a", "created": number})
    where = (Where("created", "lt", 4),)
    assert [documents.delete_many("unprocessed", where, 3) for _ in range(3)] == [3, 1, 0]
    assert documents.get("unprocessed", "m4") is not None


def test_a_collection_can_be_cut_to_a_size(documents: Documents) -> None:
    for number in range(20):
        documents.put("unprocessed", {"_id": f"m{19 - number:02}", "created": number, "text": "x" * 10_000})
    assert documents.excess("unprocessed", 10_000_000) == 0
    excess = documents.excess("unprocessed", 100_000)
    assert 90_000 <= excess <= 130_000
    assert documents.delete_oldest("unprocessed", "created", excess=excess, limit=3)[0] == 3
    left = documents.excess("unprocessed", 100_000)
    count, freed = documents.delete_oldest("unprocessed", "created", excess=left, limit=100)
    assert freed >= left
    assert documents.excess("unprocessed", 100_000) == 0
    kept = [doc["created"] for doc in documents.find("unprocessed", Query(sort=(("created", 1),)))]
    assert kept == list(range(3 + count, 20))
    assert len(kept) >= 8
