"""The comparisons of Condition, Switch5, Assert and the filters (spec/utils-components.md, "Rules used by many")."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from connectors.appmixer.utils._kit.convert import as_text, moment, number, script_text
from engine.sdk import Context


def loose_equal(left: Any, right: Any) -> bool:
    """JavaScript's `==` on JSON values; a missing value is None.

    `"1"` equals 1, `""` equals 0, true equals `"1"`; null equals only null; lists and objects
    equal a text or number by their text form, never another list or object.
    """
    if left is None or right is None:
        return left is right
    left_plain, right_plain = not isinstance(left, dict | list), not isinstance(right, dict | list)
    if not left_plain and not right_plain:
        return False
    if not left_plain:
        return loose_equal(script_text(left), right)
    if not right_plain:
        return loose_equal(left, script_text(right))
    if isinstance(left, str) and isinstance(right, str):
        return left == right
    return number(left) == number(right)


def boolean_as_text(value: Any) -> Any:
    """`"true"` or `"false"` for a boolean: how Condition, Switch5 and Assert treat their left side."""
    return script_text(value) if isinstance(value, bool) else value


def is_empty(value: Any) -> bool:
    """Missing, null, `""`, `[]` and `{}` are empty; numbers and booleans never are."""
    return value is None or value in ("", [], {})


def contains(haystack: Any, needle: Any) -> bool:
    """Case does not matter; what is not a text is compared as JSON text."""
    return as_text(needle).lower() in as_text(haystack).lower()


def comparable(*values: Any) -> tuple[float, ...] | None:
    """The values as numbers when all of them are, else as dates when all of them are, else None."""
    for convert in (number, moment):
        converted = tuple(convert(v) for v in values)
        if not any(math.isnan(c) for c in converted):
            return converted
    return None


def _ordered(test: Callable[[float, float], bool], left: Any, right: Any) -> bool:
    pair = comparable(left, right)
    return pair is not None and test(*pair)


def greater(left: Any, right: Any, *, exclusive: bool) -> bool:
    return _ordered((lambda a, b: a > b) if exclusive else (lambda a, b: a >= b), left, right)


def less(left: Any, right: Any, *, exclusive: bool) -> bool:
    return _ordered((lambda a, b: a < b) if exclusive else (lambda a, b: a <= b), left, right)


def in_range(value: Any, low: Any, high: Any, *, exclusive_low: bool, exclusive_high: bool) -> bool:
    """Bounds belong to the range unless excluded; all three must be numbers, or all dates."""
    found = comparable(value, low, high)
    if found is None:
        return False
    at, least, most = found
    return (least < at if exclusive_low else least <= at) and (at < most if exclusive_high else at <= most)


def remainder(dividend: Any, divisor: Any) -> float | None:
    """`%` in JavaScript: the sign is the dividend's. None when there is no result (NaN there)."""
    a, b = number(dividend), number(divisor)
    if b == 0 or math.isnan(a) or math.isnan(b) or math.isinf(a):
        return None
    result = math.fmod(a, b)
    return int(result) if result.is_integer() else result


def search(context: Context, pattern: Any, text: Any) -> bool:
    """Does JavaScript's regular expression `pattern` occur in `text`? No flags, not anchored.

    Runs in the isolate: the dialect is JavaScript's, and a pattern that never ends is cut off.
    Raises StepError when the pattern is wrong or takes too long.
    """
    return bool(
        context.eval_javascript("new RegExp($data.pattern).test($data.text)", {"pattern": pattern, "text": text})
    )
