"""List parameters become queries (engine/services/listing.py, rest-api.md §1)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import MultiDict

from engine.errors import BadRequest
from engine.model.times import from_iso
from engine.ports import Query, Where
from engine.services.listing import parse_list


def parse(**args: Any) -> Query:
    return parse_list(args, pattern_fields=("name", "flowId"), renames={"flowId": "_id"})


def where(text: str) -> Where:
    (condition,) = parse(filter=text).where
    return condition


def test_nothing_given() -> None:
    assert parse() == Query(limit=100)
    assert parse(limit="", offset=" ", sort="", pattern="", projection="", filter=[]) == Query(limit=100)


@pytest.mark.parametrize(
    ("limit", "offset", "expected"),
    [("5", "10", (5, 10)), ("0", "0", (0, 0)), ("10001", "", (10_000, 0)), (" 7 ", "+3", (7, 3))],
)
def test_limit_and_offset(limit: str, offset: str, expected: tuple[int, int]) -> None:
    query = parse(limit=limit, offset=offset)
    assert (query.limit, query.offset) == expected


@pytest.mark.parametrize("text", ["ten", "-1", "1.5", "1e3", "٣", "9" * 19, "0x10"])
@pytest.mark.parametrize("name", ["limit", "offset"])
def test_limit_and_offset_must_be_numbers(name: str, text: str) -> None:
    with pytest.raises(BadRequest, match=rf"^{name}: "):
        parse(**{name: text})


def test_sort() -> None:
    assert parse(sort="mtime:-1").sort == (("mtime", -1),)
    assert parse(sort="flowId").sort == (("_id", 1),)
    assert parse(sort=["customFields.a:1", "name:-1, btime"]).sort == (
        ("customFields.a", 1),
        ("name", -1),
        ("btime", 1),
    )


@pytest.mark.parametrize("text", ["name:2", "name:desc", ":1", "a..b:1", "name:", ":"])
def test_bad_sort(text: str) -> None:
    with pytest.raises(BadRequest, match=r"^sort: "):
        parse(sort=text)


def test_pattern_is_a_regular_expression_on_the_given_fields() -> None:
    assert parse(pattern="^ord.r").any_of == (Where("name", "regex", "^ord.r"), Where("flowId", "regex", "^ord.r"))


@pytest.mark.parametrize("text", ["(", "[a", "a**b", "(?=a)", "\\", "a" * 501, "\ud800"])
def test_bad_pattern(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadRequest, match=r"^pattern: "):
        parse(pattern=text)
    assert capfd.readouterr().err == ""


def test_projection() -> None:
    assert parse(projection="name,flowId, flow.x").include == ("name", "_id", "flow")
    assert parse(projection=["-flow", "-thumbnail,-flowId"]).exclude == ("flow", "thumbnail")


@pytest.mark.parametrize("text", ["name,-flow", "-", "a..b", "."])
def test_bad_projection(text: str) -> None:
    with pytest.raises(BadRequest, match=r"^projection: "):
        parse(projection=text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stage:running", Where("stage", "eq", "running")),
        ("flowId:abc", Where("_id", "eq", "abc")),
        ("name:", Where("name", "eq", "")),
        ("service:!appmixer:aws", Where("service", "ne", "appmixer:aws")),
        ("name:^Ord", Where("name", "starts", "Ord")),
        ("name:$er", Where("name", "ends", "er")),
        ("name:$invoice", Where("name", "ends", "invoice")),
        ("name:~d:e", Where("name", "contains", "d:e")),
        ("customFields.n:5", Where("customFields.n", "in", ["5", 5])),
        ("customFields.n:!-1.5", Where("customFields.n", "nin", ["-1.5", -1.5])),
        ("customFields.on:true", Where("customFields.on", "in", ["true", True])),
        ("name:007", Where("name", "eq", "007")),
        ("name:123456789012345678901234", Where("name", "eq", "123456789012345678901234")),
        ("n:>5", Where("n", "gt", 5)),
        ("n:>=5.5", Where("n", "gte", 5.5)),
        ("n:<abc", Where("n", "lt", "abc")),
        ("n:<=-3", Where("n", "lte", -3)),
        ("sharedWith.0.domain:>0", Where("sharedWith.0.domain", "exists", True)),
        ("mtime:>2026-03-15T12:00:00Z", Where("mtime", "gt", from_iso("2026-03-15T12:00:00Z"))),
        ("mtime:<1760000000000", Where("mtime", "lt", 1_760_000_000_000)),
        ("started:2026-03-15", Where("started", "in", ["2026-03-15", from_iso("2026-03-15")])),
        ("customFields.due:>2026-03-15", Where("customFields.due", "gt", "2026-03-15")),
        ("stage:$in:running,stopped", Where("stage", "in", ["running", "stopped"])),
        ("stage:$in:running", Where("stage", "eq", "running")),
        ("n:$in:1,a", Where("n", "in", ["1", 1, "a"])),
    ],
)
def test_filter(text: str, expected: Where) -> None:
    assert where(text) == expected


@pytest.mark.parametrize("text", ["stage", "", ":x", "a..b:x", ".a:x"])
def test_bad_filter(text: str) -> None:
    with pytest.raises(BadRequest, match=r"^filter: "):
        parse(filter=text)


def test_filters_are_repeatable_and_bounded() -> None:
    args = MultiDict([("filter", "a:1x"), ("filter", "b:!2x")])
    query = parse_list(args, pattern_fields=(), renames={})
    assert query.where == (Where("a", "eq", "1x"), Where("b", "ne", "2x"))
    with pytest.raises(BadRequest, match=r"^filter: "):
        parse(filter=["a:b"] * 51)


# -- properties

_TEXT = st.text(max_size=30)
_NAMES = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,10}(\.[a-z0-9]{1,5}){0,3}", fullmatch=True)


@given(
    st.dictionaries(
        st.sampled_from(["limit", "offset", "sort", "pattern", "projection", "filter", "other"]),
        st.one_of(_TEXT, st.lists(_TEXT, max_size=4)),
    )
)
def test_any_parameters_give_a_query_or_a_bad_request(args: dict[str, Any]) -> None:
    try:
        query = parse(**args)
    except BadRequest:
        return
    assert query.limit is not None
    assert 0 <= query.limit <= 10_000
    assert not (query.include and query.exclude)


@given(_NAMES, _TEXT.filter(lambda text: not text.startswith(tuple("!^$~<>"))))
def test_a_plain_filter_asks_for_just_that_text(path: str, value: str) -> None:
    condition = where(f"{path}:{value}")
    assert condition.path == path
    assert condition.op in ("eq", "in")
    assert condition.value == value or condition.value[0] == value


@given(_NAMES, _TEXT, st.sampled_from([("^", "starts"), ("~", "contains")]))
def test_prefixes_keep_the_rest_as_it_is(path: str, value: str, operator: tuple[str, str]) -> None:
    prefix, op = operator
    assert where(f"{path}:{prefix}{value}") == Where(path, op, value)  # type: ignore[arg-type]


@given(st.lists(st.tuples(_NAMES, st.sampled_from([1, -1])), max_size=5))
def test_sort_round_trip(sort: list[tuple[str, int]]) -> None:
    assert parse(sort=",".join(f"{path}:{direction}" for path, direction in sort)).sort == tuple(sort)


@given(st.integers(-(10**14), 10**14), st.sampled_from([(">=", "gte"), ("<", "lt")]))
def test_numbers_round_trip(number: int, operator: tuple[str, str]) -> None:
    prefix, op = operator
    assert where(f"n:{prefix}{number}") == Where("n", op, number)  # type: ignore[arg-type]
