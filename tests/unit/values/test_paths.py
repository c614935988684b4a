"""Dotted paths and JSONPath queries."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import StepError
from engine.values.paths import compile_path, compile_query, split_path

DATA = {
    "data": {"lines": [{"sku": "a"}, {"sku": "b"}], "b": 5},
    "main.temp": 21,
    "a": [{"b": 1, "c.d": 2}],
    "contact[company]": "Acme",
    "zero": 0,
    "7": "seven",
}


@pytest.mark.parametrize(
    "path,expected",
    [
        ("data.b", 5),
        ("data.lines", [{"sku": "a"}, {"sku": "b"}]),
        ("a.[0].b", 1),
        ("a[0].b", 1),
        ("a.0.b", 1),
        ("data['b']", 5),
        ('data["b"]', 5),
        ("[main.temp]", 21),
        ("main.temp", 21),
        ("a[0]['c.d']", 2),
        ("a.[0].[c.d]", 2),
        ("contact[company]", "Acme"),
        ("zero", 0),
        ("7", "seven"),
        ("data.lines[-1].sku", "b"),
        ("data.lines[2].sku", None),
        ("data.lines.sku", None),
        ("data.b.c", None),
        ("missing", None),
        ("missing.deep", None),
        ("", DATA),
    ],
)
def test_a_path_finds_what_lies_there_or_nothing(path: str, expected: Any) -> None:
    assert compile_path(path)(DATA) == expected


@pytest.mark.parametrize("value", [None, 1, "text", [], True])
def test_a_path_into_what_holds_nothing_is_nothing(value: Any) -> None:
    assert compile_path("a.b")(value) is None
    assert compile_path("a")(value) is None


def test_a_list_at_the_top_is_indexed() -> None:
    items = [{"name": "x"}, {"name": "y"}]
    assert compile_path("[0].name")(items) == "x"
    assert compile_path("1.name")(items) == "y"
    assert compile_path("0")(items) == {"name": "x"}


def test_equal_paths_share_one_function() -> None:
    assert compile_path("shared.path") is compile_path("shared." + "path")


def test_stray_brackets_are_part_of_a_name() -> None:
    assert split_path("a[b") == ("a[b",)
    assert compile_path("a[b")({"a[b": 1}) == 1


@pytest.mark.parametrize(
    "query,expected",
    [
        ("$", DATA),
        ("$.data.b", 5),
        ("$['data'].b", 5),
        ("$.data.lines[0].sku", "a"),
        ("data.lines", [{"sku": "a"}, {"sku": "b"}]),
        ("$..sku", ["a", "b"]),
        ("$.data.lines[*].sku", ["a", "b"]),
        ("data.lines[*].sku", ["a", "b"]),
        ("$.data.lines[?(@.sku == 'b')].sku", ["b"]),
        ("data.lines[0:1]", [{"sku": "a"}]),
        ("$.data.lines[-1].sku", "b"),
        ("$.nowhere", None),
        ("$.nowhere[*]", []),
        ("quantity", None),
    ],
)
def test_a_query_gives_one_value_or_a_list(query: str, expected: Any) -> None:
    assert compile_query(query)(DATA) == expected


@pytest.mark.parametrize("query", ["$[", "$..[", "$.a[?(@.b =)]", "$.a[?match(@.b, 'x')]"])
def test_a_query_that_cannot_be_read_is_a_step_error_naming_it(query: str) -> None:
    with pytest.raises(StepError) as caught:
        compile_query(query)(DATA)
    assert query in caught.value.message
    assert "\n" not in caught.value.message


def test_regular_expressions_in_queries_are_refused() -> None:
    with pytest.raises(StepError, match="regular expressions"):
        compile_query("$.data.lines[?(@.sku =~ /a/)]")(DATA)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.text(max_size=20) | st.text("ab.0[]'\"$*?@=>(,:-", max_size=15), JSON)
def test_no_path_crashes(path: str, value: Any) -> None:
    compile_path(path)(value)
    try:
        compile_query(path)(value)
    except StepError:
        pass


@given(st.dictionaries(st.text("ab.[]'0", min_size=1, max_size=6), st.integers(), min_size=1))
def test_every_key_can_be_reached_by_its_own_text_unless_an_inner_path_hides_it(value: dict[str, int]) -> None:
    for key, item in value.items():
        found = compile_path(key)(value)
        assert found == item or found in value.values() or split_path(key) == ()


@pytest.mark.parametrize("path", ["[" + " " * 100_000, "[ 'a" * 50_000, "[" * 100_000, "." * 100_000])
def test_a_path_costs_no_more_than_its_length(path: str) -> None:
    assert split_path(path) == (path,) or set(path) == {"."}


def test_a_query_has_a_greatest_length() -> None:
    with pytest.raises(StepError, match="too long"):
        compile_query("$" + "[" * 100_000)
