"""The Mongo-style queries of data stores."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadRequest
from engine.rules.entry_filter import compile_filter, equalities

ENTRY = {
    "key": "order-7",
    "value": {"total": 12.5, "paid": True, "tags": ["new", "eu"], "lines": [{"sku": "a", "n": 1}, {"sku": "b"}]},
    "createdAt": "2026-03-01T08:00:00.000Z",
}


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"key": "order-7"},
        {"key": {"$eq": "order-7"}},
        {"key": {"$ne": "order-8"}},
        {"value.total": {"$gt": 12, "$lte": 12.5}},
        {"value.total": {"$gte": 12.5, "$lt": 13}},
        {"value.paid": True},
        {"value.tags": "eu"},
        {"value.tags": ["new", "eu"]},
        {"value.tags.1": "eu"},
        {"value.tags": {"$in": ["x", "new"]}},
        {"value.tags": {"$nin": ["x", "y"]}},
        {"value.lines.sku": "b"},
        {"value.lines.0.n": 1},
        {"value.missing": None},
        {"value.missing": {"$exists": False}},
        {"value.lines.n": {"$exists": True}},
        {"key": {"$regex": "^ORDER", "$options": "i"}},
        {"createdAt": {"$gt": "2026-02"}},
        {"$or": [{"key": "x"}, {"$and": [{"value.paid": True}, {"value.total": 12.5}]}]},
    ],
)
def test_these_hold(query: dict[str, Any]) -> None:
    assert compile_filter(query)(ENTRY)


@pytest.mark.parametrize(
    "query",
    [
        {"key": "order-8"},
        {"value.paid": 1},
        {"value.total": {"$gt": "1"}},
        {"value.tags": {"$ne": "eu"}},
        {"value.tags": {"$nin": ["eu"]}},
        {"value.missing": {"$lt": 5}},
        {"value.missing": {"$exists": True}},
        {"key": {"$regex": "^ORDER"}},
        {"key": "order-7", "value.paid": False},
        {"$or": [{"key": "x"}, {"key": "y"}]},
    ],
)
def test_these_do_not(query: dict[str, Any]) -> None:
    assert not compile_filter(query)(ENTRY)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"key": {"$near": 1}}, "unknown operator $near"),
        ({"$where": "1"}, "unknown operator $where"),
        ({"key": {"$gt": 1, "other": 2}}, "unknown operator other"),
        ({"$or": []}, "$or needs a list"),
        ({"$and": {"key": 1}}, "$and needs a list"),
        ({"$or": ["x"]}, "a query must be an object, not str"),
        ({"key": {"$in": "x"}}, "key: $in needs a list"),
        ({"key": {"$regex": 5}}, "key: $regex needs a text"),
        ({"key": {"$regex": "("}}, "not a regular expression"),
        ({"key": {"$regex": "a", "$options": "q"}}, "$options may hold"),
        ([], "a query must be an object, not list"),
    ],
)
def test_what_is_wrong_is_named(query: Any, says: str) -> None:
    with pytest.raises(BadRequest) as caught:
        compile_filter(query)
    assert says in caught.value.message


def test_nesting_has_an_end() -> None:
    query: dict[str, Any] = {"key": "x"}
    for _ in range(50):
        query = {"$and": [query]}
    with pytest.raises(BadRequest, match="deep"):
        compile_filter(query)


def test_a_hostile_expression_takes_no_time() -> None:
    assert not compile_filter({"key": {"$regex": "(a+)+$"}})({"key": "a" * 5000 + "!"})


def test_equalities_are_those_a_database_can_look_up() -> None:
    query = {"key": "x", "value.n": {"$eq": 3}, "value.b": True, "value.o": {"a": 1}, "$or": [{"key": "y"}]}
    assert equalities(query) == {"key": "x", "value.n": 3}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab$.0", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab$.0", max_size=3), inner, max_size=3),
    max_leaves=8,
)
OPERATORS = st.sampled_from(["$eq", "$ne", "$gt", "$lte", "$in", "$nin", "$regex", "$exists", "$and", "$or", "$x"])


@given(st.dictionaries(st.text("ab$.0", max_size=3) | OPERATORS, JSON | st.dictionaries(OPERATORS, JSON)), JSON)
def test_any_query_answers_or_says_what_is_wrong(query: dict[str, Any], entry: Any) -> None:
    with contextlib.suppress(BadRequest):
        assert compile_filter(query)(entry) in (True, False)


@given(JSON, JSON)
def test_ne_is_not_eq_and_nin_is_not_in(value: Any, wanted: Any) -> None:
    entry = {"v": value}
    assert compile_filter({"v": {"$eq": wanted}})(entry) != compile_filter({"v": {"$ne": wanted}})(entry)
    assert compile_filter({"v": {"$in": [wanted]}})(entry) != compile_filter({"v": {"$nin": [wanted]}})(entry)
