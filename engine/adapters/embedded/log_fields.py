"""Fields of log records in conditions and sort orders: columns, times, and JSON beyond the columns.

Functions that make conditions return (sql, values). Names come from users, so they reach SQL
either as one of our own column names or as a bound JSON path.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from engine.adapters.embedded.log_month import FIELDS
from engine.errors import BadRequest
from engine.model.times import from_iso

Sql = tuple[str, tuple[Any, ...]]

IDS = ("id", "correlationId", "flowId")
"""Ids with an index."""

_EXACT = frozenset((*IDS, "componentId", "senderId", "userId", "bundleId"))
_TEXT = frozenset(("msg", "err"))
_TIMES = frozenset(("created", "gridTimestamp", "@timestamp"))
_COLUMNS: dict[str, str] = {**{name: name for name in FIELDS}, "_id": "id"}
_LAST = 253_402_300_799_999
"""The last millisecond of the year 9999."""

_DATE = re.compile(r"(\d{4})(?:-(\d{2}))?(?:-(\d{2}))?")
_UNITS = ((re.compile(r".*[T ]\d\d:\d\d:\d\d[.,]\d+"), 1), (re.compile(r".*[T ]\d\d:\d\d:\d\d"), 1000))
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def canonical(name: str) -> str:
    """Elasticsearch's `.keyword` twins are the field itself here."""
    return name.removesuffix(".keyword")


def is_time(name: str) -> bool:
    return canonical(name) in _TIMES


def is_text(name: str) -> bool:
    return name in _TEXT


def _column(name: str) -> str | None:
    return _COLUMNS.get(canonical(name))


def json_path(name: str) -> str:
    """`$."a"."b"` for `a.b`. Raises BadRequest for names that cannot be a path."""
    parts = canonical(name).split(".")
    if not all(parts) or '"' in name:
        raise BadRequest(f"{name!r} is not the name of a field")
    return "$" + "".join(f'."{part}"' for part in parts)


def like_escape(text: str) -> str:
    return re.sub(r"([%_\\])", r"\\\1", text)


def exists(name: str) -> Sql:
    if is_time(name):
        return "1", ()
    column = _column(name)
    if column:
        return f'(log."{column}" IS NOT NULL)', ()
    return "(coalesce(json_type(log.extra, ?), 'null') <> 'null')", (json_path(name),)


def _each(name: str, condition: str, values: tuple[Any, ...]) -> Sql:
    """The condition on `e.value` holds for the JSON value or, in an array or object, for one of its members."""
    return f"EXISTS (SELECT 1 FROM json_each(log.extra, ?) AS e WHERE {condition})", (json_path(name), *values)  # noqa: S608


def equals(name: str, text: str) -> Sql:
    column = _column(name)
    if column == "severity" and text.lower() == "error":
        return "log.severity = 'error'", ()  # a constant, so that SQLite sees the partial index fits
    if column in _EXACT:
        return f'log."{column}" = ?', (text,)
    if column:
        return f'CAST(log."{column}" AS TEXT) = ? COLLATE NOCASE', (text,)
    if text.lower() in ("true", "false"):
        return _each(name, "e.type = ? OR e.value = ? COLLATE NOCASE", (text.lower(), text))
    return _each(name, "e.type NOT IN ('true', 'false') AND CAST(e.value AS TEXT) = ? COLLATE NOCASE", (text,))


def like(name: str, pattern: str) -> Sql:
    column = _column(name)
    if column:
        return f"log.\"{column}\" LIKE ? ESCAPE '\\'", (pattern,)
    return _each(name, "CAST(e.value AS TEXT) LIKE ? ESCAPE '\\'", (pattern,))


def value_range(name: str, low: str | None, high: str | None, low_in: bool, high_in: bool) -> Sql:
    """Numbers when every bound is one, else text in the order of its characters."""
    column = _column(name)
    value = f'log."{column}"' if column else "e.value"
    bounds = [(low, ">=" if low_in else ">"), (high, "<=" if high_in else "<")]
    given = [(bound, operator) for bound, operator in bounds if bound is not None]
    if not given:
        return exists(name)
    numeric = all(_NUMBER.fullmatch(bound) for bound, _ in given)
    # SQLite sorts every text after every number; comparing across the two would be true by accident.
    kinds = "IN ('integer', 'real')" if numeric else "= 'text'"
    tests = [f"typeof({value}) {kinds}", *(f"{value} {operator} ?" for _, operator in given)]
    values = tuple(float(bound) if numeric else bound for bound, _ in given)
    sql = f"({' AND '.join(tests)})"
    return (sql, values) if column else _each(name, sql, values)


# -- times


def moment(text: str) -> tuple[int, int]:
    """First and last millisecond of what the text names: a year, month, day, second or instant.

    Raises BadRequest.
    """
    try:
        if re.fullmatch(r"-?\d{5,}", text):
            first = last = int(text)
        elif match := _DATE.fullmatch(text):
            first, last = _span(*(int(part) if part else None for part in match.groups()))
        else:
            first = from_iso(text)
            last = first + _resolution(text) - 1
    except (ValueError, OverflowError) as error:
        raise BadRequest(
            f"{text!r} is not a time; write 2026-01-31, 2026-01-31T08:15:00Z (in quotes if it has a zone such as"
            " +01:00) or epoch milliseconds"
        ) from error
    if not -_LAST <= first <= _LAST:
        raise BadRequest(f"{text!r} is not a time between the years 1 and 9999")
    return first, last


def _resolution(text: str) -> int:
    for pattern, milliseconds in _UNITS:
        if pattern.match(text):
            return milliseconds
    return 60_000


def _span(year: int | None, month: int | None, day: int | None) -> tuple[int, int]:
    first = datetime(year or 1, month or 1, day or 1, tzinfo=UTC)
    milliseconds = round(first.timestamp() * 1000)
    if day:
        return milliseconds, milliseconds + 86_400_000 - 1
    following = (first.year + month // 12, month % 12 + 1) if month else (first.year + 1, 1)
    if following[0] > 9999:
        return milliseconds, _LAST
    end = datetime(*following, 1, tzinfo=UTC)
    return milliseconds, round(end.timestamp() * 1000) - 1


def time_range(low: str | None, high: str | None, low_in: bool, high_in: bool) -> tuple[int | None, int | None]:
    """Inclusive bounds; a bound that names a day or month means all of it, as in Elasticsearch."""
    first = last = None
    if low is not None:
        start, end = moment(low)
        first = start if low_in else end + 1
    if high is not None:
        start, end = moment(high)
        last = end if high_in else start - 1
    return first, last


# -- sorting


def sort_key(name: str) -> tuple[str, tuple[Any, ...], bool]:
    """(expression, its values, whether it is a time). Other fields sort as text, missing ones as ""."""
    if is_time(name):
        return "log.created", (), True
    column = _column(name)
    if column == "id":
        return "log.id", (), False
    if column:
        return f"coalesce(CAST(log.\"{column}\" AS TEXT), '')", (), False
    return "coalesce(CAST(json_extract(log.extra, ?) AS TEXT), '')", (json_path(name),), False


def after_value(name: str, value: Any) -> Any:
    """A search_after value as `sort_key` yields it: REST hands numbers over as text."""
    if is_time(name):
        return value if isinstance(value, int) and not isinstance(value, bool) else moment(str(value))[0]
    return "" if value is None else str(value)
