from __future__ import annotations

from typing import Any

import pytest

from engine.sdk import CancelError, StepError
from tests.connectors.recorder import run

CONDITION = "appmixer.utils.controls.Condition"
SWITCH = "appmixer.utils.controls.Switch5"


def ask(*rows: list[dict[str, Any]]) -> str:
    """The port Condition leaves by; each row is a list of alternatives."""
    recorder = run(CONDITION, {"in": {"expression": {"AND": [{"OR": row} for row in rows]}}})
    assert [content for _, content in recorder.sent] == [{}]
    return recorder.sent[0][0]


ITEMS: list[tuple[dict[str, Any], bool]] = [
    ({"operator": "=", "input": "1", "value": 1}, True),
    ({"operator": "=", "input": True, "value": "true"}, True),
    ({"operator": "=", "input": True, "value": "1"}, False),
    ({"operator": "=", "input": None}, True),
    ({"operator": "=", "value": ""}, False),
    ({"operator": "!=", "input": "a", "value": "b"}, True),
    ({"operator": "!=", "input": False, "value": "false"}, False),
    ({"operator": ">", "input": "10", "value": "9"}, True),
    ({"operator": ">", "input": "9", "value": 9}, False),
    ({"operator": ">=", "input": "9", "value": 9}, True),
    ({"operator": "<", "input": "2025-04-25", "value": "2025-04-26"}, True),
    ({"operator": "<=", "input": "2025-04-26", "value": "2025-04-26 00:00"}, True),
    ({"operator": "<", "input": "apple", "value": "banana"}, False),
    ({"operator": ">", "input": 1}, False),
    ({"operator": ">", "input": 1, "value": None}, True),
    ({"operator": "<", "value": 1}, False),
    ({"operator": "%", "input": "9", "divisor": 3}, True),
    ({"operator": "%", "input": 10, "divisor": "3"}, False),
    ({"operator": "%", "input": 9, "divisor": 0}, False),
    ({"operator": "%", "input": 9}, False),
    ({"operator": "empty", "input": ""}, True),
    ({"operator": "empty"}, True),
    ({"operator": "empty", "input": 0}, False),
    ({"operator": "empty", "input": False}, False),
    ({"operator": "notEmpty", "input": [1]}, True),
    ({"operator": "notEmpty", "input": {}}, False),
    ({"operator": "contains", "input": "Hello World", "value": "WORLD"}, True),
    ({"operator": "contains", "input": {"a": [1, 2]}, "value": "[1,2]"}, True),
    ({"operator": "contains", "input": None, "value": "x"}, False),
    ({"operator": "range", "input": 5, "rangeMin": 5, "rangeMax": "7"}, True),
    ({"operator": "range", "input": 5, "rangeMin": 5, "rangeMax": 7, "exclusiveMin": True}, False),
    ({"operator": "range", "input": 7, "rangeMin": 5, "rangeMax": 7, "exclusiveMax": True}, False),
    ({"operator": "range", "input": "2025-04-25", "rangeMin": "2025-04-25", "rangeMax": "2025-04-30"}, True),
    ({"operator": "range", "input": 5, "rangeMin": 1}, False),
    ({"operator": "regex", "input": "order 4711", "regex": "[0-9]{4}$"}, True),
    ({"operator": "regex", "input": "Order", "regex": "order"}, False),
    ({"operator": "regex", "input": 4711, "regex": "47"}, True),
    ({"operator": "regex", "input": "a1", "regex": "(?<=a)\\d"}, True),
]


@pytest.mark.parametrize(("item", "holds"), ITEMS)
def test_operators(item: dict[str, Any], holds: bool) -> None:
    assert ask([item]) == ("true" if holds else "false")


YES = {"operator": "empty"}
NO = {"operator": "notEmpty"}


def test_all_rows_must_hold_and_one_item_of_each_is_enough() -> None:
    assert ask([NO, YES], [YES]) == "true"
    assert ask([YES], [NO, NO]) == "false"
    assert ask([YES], []) == "false"


def test_an_empty_list_of_rows_holds_and_no_expression_does_not() -> None:
    assert ask() == "true"
    assert run(CONDITION, {"in": {}}).sent == [("false", {})]
    assert run(CONDITION, {"in": {"expression": None}}).sent == [("false", {})]
    assert run(CONDITION, {"in": None}).sent == [("false", {})]


def test_a_row_without_items_does_not_hold() -> None:
    assert run(CONDITION, {"in": {"expression": {"AND": [{}]}}}).sent == [("false", {})]


@pytest.mark.parametrize("operator", ["like", None, "", 5])
def test_an_unknown_operator_discards_the_message(operator: Any) -> None:
    with pytest.raises(CancelError, match="is no operator; use one of =, !="):
        ask([{"operator": operator, "input": 1}])


@pytest.mark.parametrize("item", [{"input": "x"}, {"value": "x"}])
def test_contains_needs_both_operands(item: dict[str, Any]) -> None:
    with pytest.raises(StepError, match="contains needs") as raised:
        ask([{"operator": "contains", **item}])
    assert not isinstance(raised.value, CancelError)
    assert raised.value.retry_hint is False


@pytest.mark.parametrize("pattern", ["(", "(a+)+$"])
def test_a_bad_or_endless_pattern_is_an_error(pattern: str) -> None:
    with pytest.raises(StepError):
        ask([{"operator": "regex", "input": "a" * 40 + "!", "regex": pattern}])


def branch(*holding: int) -> str:
    content = {f"expression{i}": {"AND": [{"OR": [YES if i in holding else NO]}]} for i in range(1, 6)}
    recorder = run(SWITCH, {"in": content})
    assert [c for _, c in recorder.sent] == [{}]
    return recorder.sent[0][0]


@pytest.mark.parametrize("way", [1, 2, 3, 4, 5])
def test_switch_leaves_by_the_branch_that_holds(way: int) -> None:
    assert branch(way) == f"out{way}"


def test_the_first_branch_that_holds_wins_and_none_is_else() -> None:
    assert branch(2, 3, 5) == "out2"
    assert branch() == "else"
    assert run(SWITCH, {"in": {}}).sent == [("else", {})]


def test_missing_expressions_are_skipped() -> None:
    content = {"expression1": None, "expression4": {"AND": [{"OR": [YES]}]}}
    assert run(SWITCH, {"in": content}).sent == [("out4", {})]
    assert run(SWITCH, {"in": {"expression1": {}, "expression3": {"AND": []}}}).sent == [("out3", {})]
