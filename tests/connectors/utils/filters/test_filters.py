from __future__ import annotations

from typing import Any

import pytest

from engine.sdk import Incoming
from tests.connectors.recorder import run

F = "appmixer.utils.filters."
SENT = {"what": "the sender emitted"}


def port(name: str, fields: Any) -> str:
    """The port a filter leaves by; it always forwards what the sender emitted."""
    ((left_by, content),) = run(F + name, {"in": Incoming(fields, SENT)}).sent
    assert content == SENT
    return left_by


CASES: list[tuple[str, dict[str, Any], str]] = [
    ("Equal", {"sourceData": "1", "value": "1"}, "equals"),
    ("Equal", {"sourceData": "1", "value": "1.0"}, "notEquals"),
    ("Equal", {"sourceData": 1, "value": "1.0"}, "equals"),
    ("Equal", {"sourceData": "a", "value": "b"}, "notEquals"),
    ("Equal", {}, "equals"),
    ("Equal", {"value": ""}, "equals"),
    ("Equal", {"sourceData": "x"}, "notEquals"),
    ("NotEqual", {"sourceData": "a", "value": "b"}, "notEquals"),
    ("NotEqual", {"sourceData": "a", "value": "a"}, "equals"),
    ("NotEqual", {}, "equals"),
    ("Contains", {"sourceData": "Hello", "value": "hELL"}, "contains"),
    ("Contains", {"sourceData": ["a", "b"], "value": ["a"]}, "notContains"),
    ("Contains", {"sourceData": ["a", "b"], "value": '"a"'}, "contains"),
    ("Contains", {"sourceData": 1234, "value": 23}, "contains"),
    ("Contains", {"sourceData": "x", "value": "y"}, "notContains"),
    ("GreaterThan", {"sourceData": "10", "greaterThan": "9"}, "greater"),
    ("GreaterThan", {"sourceData": "9", "greaterThan": "9"}, "greater"),
    ("GreaterThan", {"sourceData": "9", "greaterThan": "9", "exclusive": True}, "notGreater"),
    ("GreaterThan", {"sourceData": "8", "greaterThan": "9"}, "notGreater"),
    ("GreaterThan", {"sourceData": "apple", "greaterThan": "9"}, "notGreater"),
    ("GreaterThan", {"sourceData": "2025-04-25", "greaterThan": "2025-04-24 23:59"}, "greater"),
    ("GreaterThan", {"sourceData": "", "greaterThan": "0"}, "greater"),
    ("LessThan", {"sourceData": "8", "lessThan": "9"}, "less"),
    ("LessThan", {"sourceData": "9", "lessThan": "9"}, "less"),
    ("LessThan", {"sourceData": "9", "lessThan": "9", "exclusive": True}, "notLess"),
    ("LessThan", {"sourceData": "10", "lessThan": "9"}, "notLess"),
    ("LessThan", {"sourceData": "apple", "lessThan": "banana"}, "notLess"),
    ("LessThan", {"sourceData": "2017-04-23", "lessThan": "2017-04-23 22:45"}, "less"),
    ("Range", {"sourceData": "5", "rangeMin": "5", "rangeMax": "6"}, "inRange"),
    ("Range", {"sourceData": "6", "rangeMin": "5", "rangeMax": "6"}, "inRange"),
    ("Range", {"sourceData": "5", "rangeMin": "5", "rangeMax": "6", "exclusiveMin": True}, "notInRange"),
    ("Range", {"sourceData": "6", "rangeMin": "5", "rangeMax": "6", "exclusiveMax": True}, "notInRange"),
    ("Range", {"sourceData": "7", "rangeMin": "5", "rangeMax": "6"}, "notInRange"),
    ("Range", {"sourceData": "x", "rangeMin": "5", "rangeMax": "6"}, "notInRange"),
    ("Range", {"sourceData": "2025-04-25", "rangeMin": "2025-04-25", "rangeMax": "2025-05-01"}, "inRange"),
    ("IsNotEmpty", {"sourceData": "x"}, "notEmpty"),
    ("IsNotEmpty", {"sourceData": 0}, "notEmpty"),
    ("IsNotEmpty", {"sourceData": False}, "notEmpty"),
    ("IsNotEmpty", {"sourceData": [1]}, "notEmpty"),
    ("IsNotEmpty", {"sourceData": ""}, "empty"),
    ("IsNotEmpty", {"sourceData": []}, "empty"),
    ("IsNotEmpty", {"sourceData": {}}, "empty"),
    ("IsNotEmpty", {"sourceData": None}, "empty"),
    ("IsNotEmpty", {}, "empty"),
]


@pytest.mark.parametrize(("name", "fields", "expected"), CASES)
def test_filters(name: str, fields: dict[str, Any], expected: str) -> None:
    assert port(name, fields) == expected


@pytest.mark.parametrize(
    ("a", "b", "expected"), [(7, 3, 1), (-7, 3, -1), (7.5, 2, 1.5), (4, 2, 0), (1, 0, None), ("x", 2, None)]
)
def test_modulo_sends_the_bare_remainder(a: Any, b: Any, expected: Any) -> None:
    message = Incoming({"sourceData": a, "value": b}, SENT)
    assert run(F + "Modulo", {"in": message}).sent == [("modulo", expected)]


def test_identity_passes_everything() -> None:
    assert run(F + "Identity", {"in": SENT}).sent == [("out", SENT)]
