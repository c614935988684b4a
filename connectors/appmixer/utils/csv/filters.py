"""The row filters of the CSV steps: `{OR: [{AND: [{column, operator, value}]}]}`, an OR of AND groups."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from connectors.appmixer.utils._kit.compare import loose_equal
from connectors.appmixer.utils._kit.convert import as_text, number, script_text
from connectors.appmixer.utils._kit.errors import wrong
from connectors.appmixer.utils._kit.inputs import entries
from connectors.appmixer.utils.csv.step import Numbers, Step, column
from connectors.appmixer.utils.csv.table import Row
from engine.sdk import Context

BATCH = 500
"""Rows tested at a time: one call of the isolate serves that many cells."""

_RELATIONS: Mapping[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
OPERATORS = ("=", "!=", ">", ">=", "<", "<=", "regex")

_REGEX = "(function () { var re = new RegExp($data.pattern); return $data.texts.map(t => re.test(t)); })()"

Condition = tuple[int, str, Any]


def select(context: Context, given: Step, header: Row | None, rows: Iterator[Row]) -> Iterator[tuple[Row, bool]]:
    """Every row and whether the step's filters (with a header) or indexes (without) hold for it.

    No filter holds for every row. Raises StepError for an unknown column or operator, a wrong
    regular expression, or indexes that are none.
    """
    if header is None:
        numbers = Numbers(_indexes(given), "indexes")
        return ((row, at in numbers) for at, row in enumerate(rows))
    return _filtered(context, given, _groups(given.content.get("filters"), header), rows)


def _indexes(given: Step) -> Any:
    """`index` for one row, `indexes` for many."""
    return given.content["index"] if given.content.get("index") is not None else given.content.get("indexes")


def _groups(filters: Any, header: Row) -> list[list[Condition]]:
    if filters is not None and not isinstance(filters, Mapping):
        raise wrong('filters: must be an object such as {"OR": [{"AND": [{"column", "operator", "value"}]}]}')
    return [[_condition(item, header) for item in entries(group, "AND")] for group in entries(filters, "OR")]


def _condition(item: Mapping[str, Any], header: Row) -> Condition:
    sign = item.get("operator")
    if sign not in OPERATORS:
        raise wrong(f"filters: there is no operator {sign!r}; use one of {' '.join(OPERATORS)}")
    return column(header, item.get("column")), sign, item.get("value")


def _filtered(
    context: Context, given: Step, groups: list[list[Condition]], rows: Iterable[Row]
) -> Iterator[tuple[Row, bool]]:
    source = iter(rows)
    while batch := list(islice(source, BATCH)):
        tested = [[_test(context, given, condition, batch) for condition in group] for group in groups]
        for at, row in enumerate(batch):
            yield row, not groups or any(all(results[at] for results in group) for group in tested)


def _test(context: Context, given: Step, condition: Condition, batch: Sequence[Row]) -> list[bool]:
    at, sign, wanted = condition
    cells = [row[at] if at < len(row) else "" for row in batch]
    if sign == "regex":
        return list(context.eval_javascript(_REGEX, {"pattern": as_text(wanted), "texts": cells}))
    return [_holds(given.value(cell), sign, wanted) for cell in cells]


def _holds(cell: Any, sign: str, wanted: Any) -> bool:
    if isinstance(cell, bool):
        # so that the text "true", all a form can give, meets the cell true
        cell, wanted = script_text(cell), script_text(wanted)
    if sign in ("=", "!="):
        return loose_equal(cell, wanted) is (sign == "=")
    if isinstance(cell, str) and isinstance(wanted, str):
        return _RELATIONS[sign](cell, wanted)
    return _RELATIONS[sign](number(cell), number(wanted))
