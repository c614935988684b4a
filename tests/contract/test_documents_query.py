"""Contract of queries of `ports.Documents`, by example and against an evaluator in plain Python."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import BadRequest
from engine.ports import Documents, Query, Where

SAMPLE: list[dict[str, Any]] = [
    {"_id": "1", "name": "Alpha", "size": 1, "scope": ["user", "admin"], "on": True, "box": {"a": {"b": 1}}},
    {"_id": "2", "name": "beta", "size": 2.5, "scope": ["user"], "on": False, "box": {"a": [{"b": 2}, {"b": 3}]}},
    {"_id": "3", "name": "Gämma", "size": 10, "scope": [], "on": None, "people": [{"email": "x@y.z", "may": ["read"]}]},
    {"_id": "4", "name": None, "size": "2", "scope": "user", "box": {"a": {"0": "zero"}, "list": [[1], "p", 7]}},
    {"_id": "5", "name": '{"a":1}', "on": 1, "box": {"a": None}, "a.b": "dotted"},
]


@pytest.fixture
def sample(documents: Documents) -> Documents:
    for doc in SAMPLE:
        documents.put("config", doc)
    return documents


def ids(documents: Documents, *where: Where) -> str:
    found = documents.find("config", Query(where, sort=(("_id", 1),)))
    assert documents.count("config", Query(where)) == len(found)
    return "".join(doc["_id"] for doc in found)


@pytest.mark.parametrize(
    ("path", "op", "value", "expected"),
    [
        ("name", "eq", "Alpha", "1"),
        ("name", "eq", "alpha", ""),
        ("name", "eq", None, "4"),
        ("name", "ne", None, "1235"),
        ("name", "ne", "Alpha", "2345"),
        ("name", "in", ["Alpha", "beta"], "12"),
        ("name", "in", ["Alpha", None], "14"),
        ("name", "in", [], ""),
        ("name", "nin", ["Alpha", None], "235"),
        ("name", "eq", '{"a":1}', "5"),
        ("box", "eq", '{"a":null}', ""),
        ("size", "eq", 1, "1"),
        ("size", "eq", "2", "4"),
        ("size", "gt", 1, "23"),
        ("size", "gte", 1, "123"),
        ("size", "lt", 10, "12"),
        ("size", "gt", "1", "4"),
        ("size", "in", [1, "2", 10**30], "14"),
        ("name", "lt", "b", "13"),
        ("on", "eq", True, "1"),
        ("on", "eq", 1, "5"),
        ("on", "exists", True, "125"),
        ("on", "exists", False, "34"),
        ("scope", "eq", "user", "124"),
        ("scope", "ne", "admin", "2345"),
        ("scope", "starts", "ad", "1"),
        ("scope", "exists", True, "1234"),
        ("scope.1", "eq", "admin", "1"),
        ("scope.1.x", "eq", "admin", ""),
        ("name", "starts", "Al", "1"),
        ("name", "starts", "al", ""),
        ("name", "starts", "", "1235"),
        ("name", "ends", "ta", "2"),
        ("name", "ends", "", "1235"),
        ("name", "contains", "ÄM", "3"),
        ("name", "contains", ".", ""),
        ("name", "contains", "%", ""),
        ("name", "regex", "^[ab]", "12"),
        ("size", "regex", "1", ""),
        ("box.a.b", "eq", 1, "1"),
        ("box.a.b", "gt", 1, "2"),
        ("box.a.1.b", "eq", 3, "2"),
        ("box.a.0.b", "eq", 3, ""),
        ("box.a.0", "eq", "zero", "4"),
        ("box.list", "eq", 7, "4"),
        ("box.list", "eq", 1, ""),
        ("box.list.0", "eq", 1, "4"),
        ("box.a", "exists", True, "124"),
        ("box.a.b", "exists", True, "12"),
        ("people.email", "eq", "x@y.z", "3"),
        ("people.may", "eq", "read", "3"),
        ("people.0.may.0", "eq", "read", "3"),
        ("a.b", "exists", True, ""),
        ("_id", "eq", "3", "3"),
        ("_id", "eq", 3, ""),
        ("_id", "gt", "3", "45"),
        ("_id", "in", ["1", "5", "9"], "15"),
        ("_id", "exists", True, "12345"),
    ],
)
def test_operators(sample: Documents, path: str, op: Any, value: Any, expected: str) -> None:
    assert ids(sample, Where(path, op, value)) == expected


def test_all_of_where_and_one_of_any_of_must_hold(sample: Documents) -> None:
    query = Query(
        (Where("scope", "eq", "user"),), (Where("name", "eq", "beta"), Where("size", "eq", "2")), sort=(("_id", 1),)
    )
    assert [doc["_id"] for doc in sample.find("config", query)] == ["2", "4"]
    assert sample.count("config", query) == 2


def test_sort_puts_the_absent_first_and_breaks_ties_by_id(documents: Documents) -> None:
    for key, value in {"a": 2, "b": None, "c": 1, "d": 2, "e": 10}.items():
        documents.put("config", {"_id": key, "box": {"n": value}})
    up = documents.find("config", Query(sort=(("box.n", 1),)))
    down = documents.find("config", Query(sort=(("box.n", -1),)))
    assert "".join(doc["_id"] for doc in up) == "bcade"
    assert "".join(doc["_id"] for doc in down) == "eadcb"
    both = documents.find("config", Query(sort=(("box.n", -1), ("_id", -1))))
    assert "".join(doc["_id"] for doc in both) == "edacb"


def test_pages_visit_every_document_once(documents: Documents) -> None:
    for number in range(25):
        documents.put("flows", {"_id": f"{number:02}", "userId": "u", "mtime": number % 3})
    seen: list[str] = []
    for offset in range(0, 30, 10):
        query = Query((Where("userId", "eq", "u"),), sort=(("mtime", -1),), limit=10, offset=offset)
        seen += [doc["_id"] for doc in documents.find("flows", query)]
        assert documents.count("flows", query) == 25
    assert len(seen) == 25
    assert len(set(seen)) == 25


def test_limit_and_offset_alone(sample: Documents) -> None:
    order = (("_id", 1),)
    assert [d["_id"] for d in sample.find("config", Query(sort=order, offset=3))] == ["4", "5"]
    assert sample.find("config", Query(sort=order, limit=0)) == []


def test_projection_names_top_level_fields(sample: Documents) -> None:
    one = (Where("_id", "eq", "1"),)
    assert sample.find("config", Query(one, include=("name", "no"))) == [{"_id": "1", "name": "Alpha"}]
    rest = sample.find("config", Query(one, exclude=("box", "_id", "scope")))
    assert rest == [{"_id": "1", "name": "Alpha", "size": 1, "on": True}]


def test_a_list_may_be_very_long(documents: Documents) -> None:
    documents.put("flows", {"_id": "f", "userId": "u39999"})
    many = [f"u{number}" for number in range(40_000)]
    assert documents.count("flows", Query((Where("userId", "in", many),))) == 1


@pytest.mark.parametrize("op", ["starts", "ends", "contains", "eq"])
def test_a_text_may_be_very_long(documents: Documents, op: Any) -> None:
    long = "(x.y)ä" * 1_500
    documents.put("config", {"_id": "1", "name": [long, 5]})
    documents.put("config", {"_id": "2", "name": long[:-1] + "Ä"})
    documents.put("config", {"_id": "3", "name": long[:-1]})
    assert ids(documents, Where("name", op, long)) == ("12" if op == "contains" else "1")


def test_patterns_are_tested_together_with_other_conditions(sample: Documents) -> None:
    either = (Where("name", "regex", "^b"), Where("box.a.b", "eq", 1), Where("people.email", "regex", "@Y"))
    query = Query((Where("size", "exists", True), Where("_id", "regex", "[1-4]")), either, sort=(("_id", 1),))
    assert [doc["_id"] for doc in sample.find("config", query)] == ["1", "2", "3"]
    assert sample.update("config", "1", {"seen": True}, (Where("name", "regex", "ALPHA"),))
    assert not sample.update("config", "1", {"seen": True}, (Where("name", "regex", "beta"),))
    assert sample.update_many("config", (Where("name", "regex", "a$"),), {"seen": 5}) == 3
    assert sample.delete_many("config", (Where("name", "regex", "a$"),), 2) == 2
    assert sample.delete_many("config", (Where("name", "regex", "a$"),)) == 1


def test_a_hostile_pattern_is_answered_at_once(documents: Documents) -> None:
    documents.put("config", {"_id": "a", "name": "a" * 5_000 + "!"})
    assert ids(documents, Where("name", "regex", "^(a+)+$")) == ""


@pytest.mark.parametrize(
    "where",
    [
        Where("", "eq", 1),
        Where("a..b", "eq", 1),
        Where('a"b', "eq", 1),
        Where("a\\b", "eq", 1),
        Where("a\x00", "eq", 1),
        Where("\ud800", "eq", 1),
        Where(".".join("a" * 50), "eq", 1),
        Where("0.1.2.3.4", "eq", 1),
        Where("a", "regex", "("),
        Where("a", "regex", "(?=x)"),
        Where("a", "starts", 5),
        Where("a", "contains", None),
        Where("a", "eq", {"$gt": ""}),
        Where("a", "eq", "\ud800"),
        Where("a", "lt", None),
        Where("a", "eq", float("nan")),
        Where("a", "in", "text"),
        Where("a", "in", None),
        Where("a", "in", [[]]),
    ],
)
def test_what_cannot_be_asked_is_a_bad_request(sample: Documents, where: Where) -> None:
    for act in (sample.find, sample.count):
        with pytest.raises(BadRequest):
            act("config", Query((where,)))
    with pytest.raises(BadRequest):
        sample.delete_many("config", (where,))
    assert sample.count("config") == len(SAMPLE)


@pytest.mark.parametrize(
    "name",
    ["it's", "a[0]", "$", "$x", "name) OR 1=1 --", "äöü", "a b", "*", "?", ":x", "%s", "[", "]", "#-1", "-1", "00"],
)
def test_odd_names_are_only_names(sample: Documents, name: str) -> None:
    sample.put("config", {"_id": "odd", name: {name: name}})
    assert ids(sample, Where(f"{name}.{name}", "eq", name)) == "odd"
    assert ids(sample, Where(name, "eq", name)) == ""
    assert [d["_id"] for d in sample.find("config", Query(sort=((f"{name}.{name}", -1),), limit=1))] == ["odd"]
    assert sample.find("config", Query((Where("_id", "eq", "odd"),), include=(name,)))[0][name] == {name: name}


# -- the same rules in plain Python

KEYS = ("a", "b", "0", "1", "ü", "it's", "a[0]", "$")
TEXTS = st.text(alphabet='aAbÄ0[{"%_.\\ \U0001f600', max_size=4)
NUMBERS = st.one_of(st.integers(-3, 3), st.sampled_from([0.5, 1.0, -2.5, 2**53 + 1, -(2**63), 1e300]))
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)),
    max_leaves=12,
)
DOCS = st.dictionaries(st.sampled_from(KEYS), TREES, max_size=4)
PATHS = st.lists(st.sampled_from(KEYS), min_size=1, max_size=4).filter(
    lambda keys: sum(key.isdecimal() for key in keys) <= 3
)


@st.composite
def conditions(draw: st.DrawFn, paths: st.SearchStrategy[list[str]] = PATHS) -> Where:
    path = ".".join(draw(paths))
    op: Any = draw(
        st.sampled_from(
            ["eq", "ne", "lt", "lte", "gt", "gte", "in", "nin", "starts", "ends", "contains", "regex", "exists"]
        )
    )
    value: Any
    if op in ("eq", "ne"):
        value = draw(SCALARS)
    elif op in ("in", "nin"):
        value = draw(st.lists(SCALARS, max_size=3))
    elif op == "exists":
        value = draw(st.booleans())
    elif op == "regex":
        value = draw(st.sampled_from(["a", "^A", "b$", "[ab]{2}", "ä|0", "^$"]))
    elif op in ("starts", "ends", "contains"):
        value = draw(TEXTS)
    else:
        value = draw(SCALARS.filter(lambda item: item is not None))
    return Where(path, op, value)


def follow(node: Any, segments: Sequence[str]) -> Iterator[Any]:
    for segment in segments:
        if isinstance(node, dict) and segment in node:
            node = node[segment]
        elif isinstance(node, list) and segment.isdecimal() and int(segment) < len(node):
            node = node[int(segment)]
        else:
            return
    yield node


def places(doc: dict[str, Any], path: str) -> Iterator[Any]:
    """What the path finds, one array of objects on the way being looked into."""
    segments = path.split(".")
    yield from follow(doc, segments)
    for cut in range(1, len(segments)):
        if segments[cut].isdecimal():
            continue
        for node in follow(doc, segments[:cut]):
            for item in node if isinstance(node, list) else ():
                if isinstance(item, dict):
                    yield from follow(item, segments[cut:])


def kind(value: Any) -> str:
    return {bool: "bool", int: "number", float: "number", str: "text"}.get(type(value), "other")


def passes(value: Any, op: str, wanted: Any) -> bool:
    if op == "in":
        return any(passes(value, "eq", item) for item in wanted if item is not None)
    if kind(value) != kind(wanted) or kind(value) == "other":
        return False
    tests: dict[str, Callable[[], bool]] = {
        "eq": lambda: value == wanted,
        "lt": lambda: value < wanted,
        "lte": lambda: value <= wanted,
        "gt": lambda: value > wanted,
        "gte": lambda: value >= wanted,
        "starts": lambda: value.startswith(wanted),
        "ends": lambda: value.endswith(wanted),
        "contains": lambda: wanted.lower() in value.lower(),
        "regex": lambda: re.search(wanted.replace("$", r"\Z"), value, re.IGNORECASE) is not None,
    }
    return tests[op]()


def holds(doc: dict[str, Any], where: Where) -> bool:
    if where.op == "ne":
        return not holds(doc, Where(where.path, "eq", where.value))
    if where.op == "nin":
        return not holds(doc, Where(where.path, "in", where.value))
    found = list(places(doc, where.path))
    absent = all(node is None for node in found)
    if where.op == "exists":
        return absent is not where.value
    if where.value is None or (where.op == "in" and None in where.value and absent):
        return absent
    values = [item for node in found for item in (node if isinstance(node, list) else [node])]
    return any(passes(value, where.op, where.value) for value in values)


def expected(docs: Sequence[dict[str, Any]], query: Query) -> list[str]:
    chosen = [
        doc
        for doc in docs
        if all(holds(doc, where) for where in query.where)
        and (not query.any_of or any(holds(doc, where) for where in query.any_of))
    ]
    return [doc["_id"] for doc in chosen]


def refill(documents: Documents, collection: str, docs: Sequence[dict[str, Any]]) -> None:
    documents.delete_many(collection, ())
    for doc in docs:
        documents.put(collection, doc)


QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUICK
@given(
    docs=st.lists(DOCS, min_size=1, max_size=5),
    where=st.lists(st.lists(conditions(), max_size=2), min_size=8, max_size=8),
    any_of=st.lists(conditions(), max_size=2),
)
def test_queries_agree_with_the_plain_rules(
    documents: Documents, docs: list[dict[str, Any]], where: list[list[Where]], any_of: list[Where]
) -> None:
    stored = [{**doc, "_id": str(number)} for number, doc in enumerate(docs)]
    refill(documents, "config", stored)
    for all_of in where:
        query = Query(tuple(all_of), tuple(any_of), sort=(("_id", 1),))
        assert [doc["_id"] for doc in documents.find("config", query)] == expected(stored, query), query


@QUICK
@given(
    values=st.lists(st.one_of(SCALARS, st.just({"a": 1})), min_size=1, max_size=6),
    where=st.lists(conditions(st.just(["userId"])), min_size=8, max_size=8),
)
def test_indexed_paths_obey_the_same_rules(documents: Documents, values: list[Any], where: list[Where]) -> None:
    stored = [{"_id": str(number), "userId": value} for number, value in enumerate(values)]
    refill(documents, "flows", stored)
    for one in where:
        query = Query((one,), sort=(("_id", 1),))
        assert [doc["_id"] for doc in documents.find("flows", query)] == expected(stored, query), query
