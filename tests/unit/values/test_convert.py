"""Values as text, numbers, dates."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import StepError
from engine.values.convert import Unfit, describe, json_text, to_boolean, to_date, to_list, to_number, to_text


@pytest.mark.parametrize(
    "value,text",
    [
        (None, ""),
        (True, "true"),
        (False, "false"),
        (3, "3"),
        (3.0, "3"),
        (-0.0, "0"),
        (-0.5, "-0.5"),
        (1e21, "1e+21"),
        (123456789012345680000.0, "123456789012345680000"),
        (0.000001, "0.000001"),
        (1.5e-5, "0.000015"),
        (1e-7, "1e-7"),
        ("text", "text"),
        ([1, 2.0, None], "[1,2,null]"),
        ({"a": {"b": 1.0}}, '{"a":{"b":1}}'),
        ({"a": "1.0"}, '{"a":"1.0"}'),
    ],
)
def test_values_as_text(value: Any, text: str) -> None:
    assert to_text(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_as_text_reads_back_as_the_same_number(value: float) -> None:
    assert float(to_text(value)) == value


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    )
)
def test_lists_and_objects_as_text_are_json_of_the_same_value(value: Any) -> None:
    text = json_text(value)
    assert json.loads(text) == value
    assert orjson.loads(text) == value


def test_what_nests_too_deep_is_a_step_error() -> None:
    deep: list[Any] = []
    for _ in range(400):
        deep = [deep]
    with pytest.raises(StepError, match="cannot be written as JSON"):
        to_text(deep)


@pytest.mark.parametrize("value,number", [("12", 12), (" -1.5 ", -1.5), ("1e3", 1000.0), (True, 1), (2.5, 2.5)])
def test_numbers(value: Any, number: float) -> None:
    assert to_number(value) == number


@pytest.mark.parametrize("value", ["", "abc", "1_000", "nan", "Infinity", "0x10", None, [], {}, "1,5", "e", "1" * 500])
def test_what_is_no_number(value: Any) -> None:
    with pytest.raises(Unfit, match="a number"):
        to_number(value)


@pytest.mark.parametrize(
    "value,truth",
    [("false", False), ("0", False), ("", False), ("no", True), (0, False), (None, False), ([], True), ({}, True)],
)
def test_truth(value: Any, truth: bool) -> None:
    assert to_boolean(value) is truth


def test_json_text_of_a_list_is_a_list() -> None:
    assert to_list(' ["a"]') == ["a"]
    assert to_list(None) == []
    with pytest.raises(Unfit):
        to_list("[broken")


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-31T08:15:00Z",
        "2026-01-31T09:15:00+01:00",
        "2026-01-31T08:15:00",
        "Sat, 31 Jan 2026 08:15:00 GMT",
        1769847300000,
        "1769847300000",
    ],
)
def test_dates(value: Any) -> None:
    assert to_date(value).timestamp() == 1769847300


@pytest.mark.parametrize("value", ["", "tomorrow", "31.1.2026", None, True, [], 1e300, "9" * 30])
def test_what_is_no_date(value: Any) -> None:
    with pytest.raises(Unfit, match="a date"):
        to_date(value)


def test_kinds_are_described_in_words_and_cut_short() -> None:
    assert describe(None) == "nothing (null)"
    assert describe("x" * 100) == f'text "{"x" * 40}…"'
    assert describe([1, 2]) == "a list of 2"
    assert describe({}) == "an object"
