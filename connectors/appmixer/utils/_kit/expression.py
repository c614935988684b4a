"""Conditions as Condition and Switch5 have them: all rows of an AND list, any item of a row's OR list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from connectors.appmixer.utils._kit import compare
from engine.sdk import CancelError, Context, StepError

Item = Mapping[str, Any]


def is_given(expression: Any) -> bool:
    return isinstance(expression, Mapping) and isinstance(expression.get("AND"), list)


def holds(context: Context, expression: Any) -> bool:
    """`expression` is {AND: [{OR: [item]}]}; an empty AND list holds, a row without items does not.

    Raises CancelError for an unknown operator, StepError for `contains` without both operands.
    """
    return all(any(_item_holds(context, item) for item in row.get("OR") or ()) for row in expression["AND"])


def _item_holds(context: Context, item: Item) -> bool:
    operator = item.get("operator")
    if operator == "regex":
        return compare.search(context, item.get("regex"), item.get("input"))
    test = _OPERATORS.get(operator) if isinstance(operator, str) else None
    if test is None:
        raise CancelError(f"{operator!r} is no operator; use one of {', '.join([*_OPERATORS, 'regex'])}")
    return test(compare.boolean_as_text(item.get("input")), item)


def _contains(value: Any, item: Item) -> bool:
    for operand in ("input", "value"):
        if operand not in item:
            raise StepError(f"contains needs {operand}: give it a text or a variable", retryable=False)
    return compare.contains(value, item["value"])


def _ordered(test: Callable[..., bool], *, exclusive: bool) -> Callable[[Any, Item], bool]:
    def apply(value: Any, item: Item) -> bool:
        return "input" in item and "value" in item and test(value, item["value"], exclusive=exclusive)

    return apply


def _in_range(value: Any, item: Item) -> bool:
    return all(name in item for name in ("input", "rangeMin", "rangeMax")) and compare.in_range(
        value,
        item["rangeMin"],
        item["rangeMax"],
        exclusive_low=bool(item.get("exclusiveMin")),
        exclusive_high=bool(item.get("exclusiveMax")),
    )


# An operand left out is no number and no date, unlike one that is null or "" (both 0).
_OPERATORS: dict[str, Callable[[Any, Item], bool]] = {
    "=": lambda value, item: compare.loose_equal(value, item.get("value")),
    "!=": lambda value, item: not compare.loose_equal(value, item.get("value")),
    ">": _ordered(compare.greater, exclusive=True),
    ">=": _ordered(compare.greater, exclusive=False),
    "<": _ordered(compare.less, exclusive=True),
    "<=": _ordered(compare.less, exclusive=False),
    "%": lambda value, item: compare.remainder(value, item.get("divisor")) == 0,
    "empty": lambda value, item: compare.is_empty(value),
    "notEmpty": lambda value, item: not compare.is_empty(value),
    "contains": _contains,
    "range": _in_range,
}
