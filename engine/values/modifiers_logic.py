"""Choices and comparisons. They give true or false, for `g_condition`, filters and conditions."""

from __future__ import annotations

from typing import Any

from engine.values.convert import Unfit, describe, to_boolean, to_date, to_number, to_text
from engine.values.registry import Argument, Example, modifier

_OTHER = Argument("other", "any", "the value to compare with")


def compare(left: Any, right: Any) -> int:
    """-1, 0 or 1: as numbers when both are, else as dates, else both being text. Raises Unfit."""
    for convert in (to_number, to_date):
        try:
            a: Any = convert(left)
            b: Any = convert(right)
        except Unfit:
            continue
        return int(a > b) - int(a < b)
    if isinstance(left, str) and isinstance(right, str):
        return int(left > right) - int(left < right)
    raise Unfit(f"cannot compare {describe(left)} with {describe(right)}; give two numbers, dates or texts")


def loosely_equal(left: Any, right: Any) -> bool:
    """1 equals "1" and true equals "true"; lists and objects are compared item by item."""
    if isinstance(left, dict | list) or isinstance(right, dict | list):
        return bool(left == right)
    if isinstance(left, bool) or isinstance(right, bool) or left is None or right is None:
        return left is right or (left is not None and right is not None and to_text(left) == to_text(right))
    try:
        return to_number(left) == to_number(right)
    except Unfit:
        return to_text(left) == to_text(right)


def is_blank(value: Any) -> bool:
    """Nothing, "", [] and {}. Numbers and booleans never are (engine.md §9)."""
    return value is None or (isinstance(value, str | list | dict) and not value)


@modifier(
    "g_condition", "Condition", "logic", "One of two values, by whether the value is true.",
    Argument("then", "any", "what to give when it is true"),
    Argument("otherwise", "any", "what to give when it is false, 0, empty text or nothing", default=None),
    returns="any",
    examples=[Example(True, ["yes", "no"], "yes"), Example("", ["yes", "no"], "no"), Example(0, ["yes"], None)],
)  # fmt: skip
def condition(value: Any, then: Any, otherwise: Any) -> Any:
    return then if to_boolean(value) else otherwise


@modifier(
    "g_default", "Default", "logic", "Another value when there is none: nothing, empty text, list or object.",
    Argument("fallback", "any", "what to give instead"),
    returns="any",
    examples=[Example(None, ["none"], "none"), Example(0, [5], 0), Example("", ["-"], "-")],
)  # fmt: skip
def default(value: Any, fallback: Any) -> Any:
    return fallback if is_blank(value) else value


@modifier(
    "g_equal", "Equals", "logic", "Whether two values are the same; 1 equals the text 1.", _OTHER, returns="boolean",
    examples=[Example(1, ["1"], True), Example([1], [[1]], True), Example("a", ["b"], False)],
)  # fmt: skip
def equal(value: Any, other: Any) -> bool:
    return loosely_equal(value, other)


@modifier(
    "g_notEqual", "Does not equal", "logic", "Whether two values differ.", _OTHER, returns="boolean",
    examples=[Example(1, ["2"], True), Example("a", ["a"], False)],
)  # fmt: skip
def not_equal(value: Any, other: Any) -> bool:
    return not loosely_equal(value, other)


@modifier(
    "g_greaterThan", "Greater than", "logic", "Whether the value is above another number, date or text.", _OTHER,
    returns="boolean", examples=[Example(3.14, ["100"], False), Example("2026-02-01", ["2026-01-31"], True)],
)  # fmt: skip
def greater_than(value: Any, other: Any) -> bool:
    return compare(value, other) > 0


@modifier(
    "g_greaterOrEqual", "Greater or equal", "logic", "Whether the value is above another one, or the same.", _OTHER,
    returns="boolean", examples=[Example(5, [5], True), Example("4", [5], False)],
)  # fmt: skip
def greater_or_equal(value: Any, other: Any) -> bool:
    return compare(value, other) >= 0


@modifier(
    "g_lessThan", "Less than", "logic", "Whether the value is below another number, date or text.", _OTHER,
    returns="boolean", examples=[Example(3, [4], True), Example("b", ["a"], False)],
)  # fmt: skip
def less_than(value: Any, other: Any) -> bool:
    return compare(value, other) < 0


@modifier(
    "g_lessOrEqual", "Less or equal", "logic", "Whether the value is below another one, or the same.", _OTHER,
    returns="boolean", examples=[Example(4, [4], True), Example(10, ["9"], False)],
)  # fmt: skip
def less_or_equal(value: Any, other: Any) -> bool:
    return compare(value, other) <= 0


@modifier(
    "g_and", "And", "logic", "Whether this and another value are both true.", _OTHER, returns="boolean",
    examples=[Example(True, ["true"], True), Example(True, [0], False)],
)  # fmt: skip
def and_(value: Any, other: Any) -> bool:
    return to_boolean(value) and to_boolean(other)


@modifier(
    "g_or", "Or", "logic", "Whether this or another value is true.", _OTHER, returns="boolean",
    examples=[Example(False, ["yes"], True), Example(None, [""], False)],
)  # fmt: skip
def or_(value: Any, other: Any) -> bool:
    return to_boolean(value) or to_boolean(other)


@modifier(
    "g_not", "Not", "logic", "True for false, 0, empty text and nothing; false for all else.", returns="boolean",
    examples=[Example(True, [], False), Example("", [], True)],
)  # fmt: skip
def not_(value: Any) -> bool:
    return not to_boolean(value)


@modifier(
    "g_isEmpty", "Is empty", "logic", "Whether there is nothing, empty text, or an empty list or object.",
    returns="boolean", examples=[Example([], [], True), Example(0, [], False)],
)  # fmt: skip
def is_empty(value: Any) -> bool:
    return is_blank(value)


@modifier(
    "g_isNotEmpty", "Is not empty", "logic", "Whether there is any value; 0 and false are values.", returns="boolean",
    examples=[Example(None, [], False), Example(False, [], True)],
)  # fmt: skip
def is_not_empty(value: Any) -> bool:
    return not is_blank(value)


@modifier(
    "g_typeOf", "Type", "logic", "The kind of the value: null, boolean, number, string, array or object.",
    returns="string", examples=[Example([1], [], "array"), Example(None, [], "null"), Example("a", [], "string")],
)  # fmt: skip
def type_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"
