"""Assert: checks values and reports which are as expected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from connectors.appmixer.utils._kit import compare
from connectors.appmixer.utils._kit.convert import as_text
from engine.sdk import Component, Context, StepError

TYPES: dict[str, Callable[[Any], bool]] = {
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
}
SHOWN = 200
"""Characters of a value that a report repeats."""


class Assert(Component):
    effects = "none"

    def receive(self, context: Context) -> None:
        expression = (context.messages["in"].content or {}).get("expression")
        if not isinstance(expression, Mapping) or not isinstance(expression.get("AND"), list):
            raise StepError("Assert needs expression: add at least one row to check", retryable=False)
        report: dict[bool, list[str]] = {True: [], False: []}
        for row in expression["AND"]:
            for holds, text in (_assertion(context, row), *_type(row)):
                report[holds].append(text)
        output = {"componentId": context.component_id, "success": report[True], "error": report[False]}
        if context.component_label:
            output["componentName"] = context.component_label
        context.send(output, "out")


def _assertion(context: Context, row: Mapping[str, Any]) -> tuple[bool, str]:
    assertion = row.get("assertion")
    value = row.get("field")
    shown = _show(value)
    if assertion == "equal":
        holds = compare.loose_equal(compare.boolean_as_text(value), row.get("expected"))
        return holds, f"{shown} {'equals' if holds else 'does not equal'} {_show(row.get('expected'))}"
    if assertion == "notEmpty":
        # as in the original, an empty text or array is not nothing
        return value is not None, f"{shown} is {'not empty' if value is not None else 'empty'}"
    if assertion == "regex":
        holds = compare.search(context, row.get("regex"), value)
        return holds, f"{shown} {'matches' if holds else 'does not match'} {row.get('regex')}"
    return False, f"assertion {assertion!r} is not known; use equal, notEmpty or regex (value {shown})"


def _type(row: Mapping[str, Any]) -> list[tuple[bool, str]]:
    wanted = row.get("type")
    if not wanted:
        return []
    holds = wanted in TYPES and TYPES[wanted](row.get("field"))
    return [(holds, f"{_show(row.get('field'))} is {'of' if holds else 'not of'} type {wanted}")]


def _show(value: Any) -> str:
    text = as_text(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
