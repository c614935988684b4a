"""Loose equality, order, emptiness: JavaScript's rules, as the original's flows rely on them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from connectors.appmixer.utils._kit import compare
from connectors.appmixer.utils._kit.convert import as_text, moment, number, script_text

EQUAL: list[tuple[Any, Any, bool]] = [
    ("1", 1, True),
    (1, "1.0", True),
    ("a", "A", False),
    ("", 0, True),
    ("  ", 0, True),
    ("0", 0, True),
    ("", "0", False),
    ("1", "1.0", False),
    (True, "true", False),
    (True, "1", True),
    (True, 1, True),
    (False, "", True),
    (False, 0, True),
    (None, None, True),
    (None, "", False),
    (None, 0, False),
    (None, False, False),
    ("null", None, False),
    ("x", 0, False),
    ("0x10", 16, True),
    ("1e3", 1000, True),
    ("1_000", 1000, False),
    ("nan", "nan", True),
    ([1], "1", True),
    ([1, 2], "1,2", True),
    ([], "", True),
    ([], 0, True),
    ([None, 1], ",1", True),
    ([1], [1], False),
    ({"a": 1}, {"a": 1}, False),
    ({"a": 1}, "[object Object]", True),
    ({}, None, False),
    (1.5, "1.5", True),
    ([1.0], "1", True),
]


@pytest.mark.parametrize(("left", "right", "expected"), EQUAL)
def test_loose_equality_follows_javascript_in_both_directions(left: Any, right: Any, expected: bool) -> None:
    assert compare.loose_equal(left, right) is expected
    assert compare.loose_equal(right, left) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", 0),
        (None, 0),
        (" 42 ", 42),
        ("-1.5", -1.5),
        (".5", 0.5),
        ("5.", 5),
        ("+3", 3),
        ("1e3", 1000),
        ("0b11", 3),
        ("0o17", 15),
        (True, 1),
        (False, 0),
        ([], 0),
        (["7"], 7),
        ("Infinity", math.inf),
        ("-Infinity", -math.inf),
    ],
)
def test_numbers_as_javascript_reads_them(value: Any, expected: float) -> None:
    assert number(value) == expected


@pytest.mark.parametrize("value", ["x", "1_000", "nan", "inf", "0b12", "0xg", "1 2", {}, {"a": 1}, [1, 2], "12px"])
def test_what_is_no_number_is_nan(value: Any) -> None:
    assert math.isnan(number(value))


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("2025-04-25", 1_745_539_200_000),
        ("2025-04-25 07:38", 1_745_566_680_000),
        ("2025-04-25T07:38:12Z", 1_745_566_692_000),
        ("2025-04-25T07:38:12.500Z", 1_745_566_692_500),
        ("2025-04-25T09:38:12+02:00", 1_745_566_692_000),
        ("Fri, 25 Apr 2025 07:38:12 GMT", 1_745_566_692_000),
        ("2025/04/25", 1_745_539_200_000),
        ("04/25/2025 07:38", 1_745_566_680_000),
        ("April 25, 2025", 1_745_539_200_000),
        ("25 Apr 2025", 1_745_539_200_000),
        ("2025-04", 1_743_465_600_000),
    ],
)
def test_dates_without_a_zone_are_utc(text: str, milliseconds: int) -> None:
    assert moment(text) == milliseconds


@pytest.mark.parametrize("value", ["Friday", "2025-13-01", "", "hello world", "2025", True, None, [], {}])
def test_what_is_no_date_is_nan(value: Any) -> None:
    assert math.isnan(moment(value))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (("1", 2, None), (1, 2, 0)),
        (("", True), (0, 1)),
        (("2025-04-25", "2025-04-25T00:00:00Z"), (1_745_539_200_000, 1_745_539_200_000)),
        (("2025-04-25", 5), (1_745_539_200_000, 5)),
        (("1", "x"), None),
        (("2025-04-25", ""), None),
        (("2025-04-25", "7"), None),
    ],
)
def test_values_compare_as_numbers_else_as_dates_else_not_at_all(values: tuple[Any, ...], expected: Any) -> None:
    assert compare.comparable(*values) == expected


@pytest.mark.parametrize(
    ("value", "empty"),
    [(None, True), ("", True), ([], True), ({}, True), (0, False), (False, False), (0.0, False), (" ", False)],
)
def test_numbers_and_booleans_are_never_empty(value: Any, empty: bool) -> None:
    assert compare.is_empty(value) is empty


@pytest.mark.parametrize(
    ("haystack", "needle", "found"),
    [("Hello", "ELL", True), ([1, 2], "1,2", True), ({"a": "B"}, '"A":"b"', True), (123, 2, True), ("a", "b", False)],
)
def test_contains_ignores_case_and_reads_others_as_json(haystack: Any, needle: Any, found: bool) -> None:
    assert compare.contains(haystack, needle) is found


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [(7, 3, 1), (-7, 3, -1), (7, -3, 1), ("9", "3", 0), (5.5, 2, 1.5), (1, 0, None), ("x", 3, None), (3, math.inf, 3)],
)
def test_the_remainder_has_the_sign_of_the_dividend(a: Any, b: Any, expected: Any) -> None:
    assert compare.remainder(a, b) == expected


def test_a_range_of_dates_contains_its_inclusive_lower_bound() -> None:
    day, later = "2025-04-25", "2025-05-01"
    assert compare.in_range(day, day, later, exclusive_low=False, exclusive_high=False)
    assert not compare.in_range(day, day, later, exclusive_low=True, exclusive_high=False)
    assert compare.in_range(later, day, later, exclusive_low=True, exclusive_high=False)
    assert not compare.in_range(later, day, later, exclusive_low=True, exclusive_high=True)


def test_texts_of_values() -> None:
    assert as_text({"a": [1]}) == '{"a":[1]}'
    assert as_text("x") == "x"
    assert script_text(True) == "true"
    assert script_text([1, [2, 3], {"a": 1}]) == "1,2,3,[object Object]"


def test_the_length_of_a_text_costs_no_more_than_its_length() -> None:
    """Texts come from whoever calls a webhook: 20,000 digits once held the whole process up for half a minute."""
    assert math.isnan(number("1" * 300_000 + "x"))
    assert math.isnan(number("1" * 300_000 + "." + "1" * 300_000 + "e1x"))
    assert number("0x" + "f" * 300_000) == math.inf
    assert not compare.loose_equal("1" * 300_000 + "x", 1)


def test_only_plain_digits_are_digits() -> None:
    assert math.isnan(number("\u0661\u0662"))
