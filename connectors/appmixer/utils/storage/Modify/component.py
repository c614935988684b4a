from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from connectors.appmixer.utils._kit.convert import as_text, number
from engine.sdk import Component, Context, StepError


class Modify(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        given = context.messages["in"].content
        change = CHANGES.get(given["operator"])
        if change is None:
            names = ", ".join(CHANGES)
            raise StepError(f"operator: must be one of {names}, not {given['operator']!r}", retryable=False)
        result = context.stores.modify(given["storeId"], given["key"], lambda old: change(old, given["value"]))
        context.send(result, "out")


def _arithmetic(calculate: Callable[[float, float], float]) -> Callable[[Any, Any], Any]:
    """On numbers, a missing one being 0. What has no number as result (NaN, infinity) is null in JSON."""

    def change(old: Any, value: Any) -> Any:
        try:
            result = float(calculate(number(old), number(value)))
        except (ZeroDivisionError, OverflowError):
            return None
        if not math.isfinite(result):
            return None
        return int(result) if result.is_integer() else result

    return change


def _append(old: Any, value: Any) -> str:
    return ("" if old is None else as_text(old)) + ("" if value is None else as_text(value))


CHANGES: dict[str, Callable[[Any, Any], Any]] = {
    "Add": _arithmetic(operator.add),
    "Subtract": _arithmetic(operator.sub),
    "Multiply": _arithmetic(operator.mul),
    "Divide": _arithmetic(operator.truediv),
    "Append": _append,
    "Set": lambda _old, value: value,
}
