"""Fields of log records in conditions and sort orders: columns, times, and JSON beyond the columns.

Functions that make conditions return (sql, values). Names come from users, so they reach SQL
either as one of our own column names or as a bound JSON path.
"""

from __future__ import annotations

import re
from typing import Any

from engine.adapters.runlog.fields import EXACT, is_number, is_time, known, path_of

Sql = tuple[str, tuple[Any, ...]]


def json_path(name: str) -> str:
    """`$."a"."b"` for `a.b`. Raises BadRequest for names that cannot be a path."""
    return "$" + "".join(f'."{part}"' for part in path_of(name))


def like_escape(text: str) -> str:
    return re.sub(r"([%_\\])", r"\\\1", text)


def exists(name: str) -> Sql:
    column = known(name)
    if column:
        return f'(log."{column}" IS NOT NULL)', ()
    return "(coalesce(json_type(log.extra, ?), 'null') <> 'null')", (json_path(name),)


def _each(name: str, condition: str, values: tuple[Any, ...]) -> Sql:
    """The condition on `e.value` holds for the JSON value or, in an array or object, for one of its members."""
    return f"EXISTS (SELECT 1 FROM json_each(log.extra, ?) AS e WHERE {condition})", (json_path(name), *values)  # noqa: S608


def equals(name: str, text: str) -> Sql:
    column = known(name)
    if column == "severity" and text.lower() == "error":
        return "log.severity = 'error'", ()  # a constant, so that SQLite sees the partial index fits
    if column in EXACT:
        return f'log."{column}" = ?', (text,)
    if column:
        return f'CAST(log."{column}" AS TEXT) = ? COLLATE NOCASE', (text,)
    if text.lower() in ("true", "false"):
        return _each(name, "e.type = ? OR e.value = ? COLLATE NOCASE", (text.lower(), text))
    return _each(name, "e.type NOT IN ('true', 'false') AND CAST(e.value AS TEXT) = ? COLLATE NOCASE", (text,))


def like(name: str, pattern: str) -> Sql:
    column = known(name)
    if column:
        return f"log.\"{column}\" LIKE ? ESCAPE '\\'", (pattern,)
    return _each(name, "CAST(e.value AS TEXT) LIKE ? ESCAPE '\\'", (pattern,))


def value_range(name: str, low: str | None, high: str | None, low_in: bool, high_in: bool) -> Sql:
    """Numbers when every bound is one, else text in the order of its characters."""
    column = known(name)
    value = f'log."{column}"' if column else "e.value"
    bounds = [(low, ">=" if low_in else ">"), (high, "<=" if high_in else "<")]
    given = [(bound, operator) for bound, operator in bounds if bound is not None]
    numeric = all(is_number(bound) for bound, _ in given)
    # SQLite sorts every text after every number; comparing across the two would be true by accident.
    kinds = "IN ('integer', 'real')" if numeric else "= 'text'"
    tests = [f"typeof({value}) {kinds}", *(f"{value} {operator} ?" for _, operator in given)]
    values = tuple(float(bound) if numeric else bound for bound, _ in given)
    sql = f"({' AND '.join(tests)})"
    return (sql, values) if column else _each(name, sql, values)


# -- sorting


def sort_key(name: str) -> tuple[str, tuple[Any, ...], bool]:
    """(expression, its values, whether it is a time). Other fields sort as text, missing ones as ""."""
    if is_time(name):
        return "log.created", (), True
    column = known(name)
    if column == "id":
        return "log.id", (), False
    if column:
        return f"coalesce(CAST(log.\"{column}\" AS TEXT), '')", (), False
    return "coalesce(CAST(json_extract(log.extra, ?) AS TEXT), '')", (json_path(name),), False
