"""Reading months of the run log: sort orders, pages, counts and histograms."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from engine.adapters.embedded import log_fields as fields
from engine.adapters.embedded.log_month import LogMonth, MonthGone
from engine.adapters.embedded.log_query import Condition
from engine.adapters.runlog.fields import (
    ALWAYS,
    COUNTED,
    FIELDS,
    HISTOGRAM_SECONDS,
    MAX_BUCKETS,
    READ_SECONDS,
    SECOND,
    after_value,
    buckets_of,
    check_after,
    check_sorts,
    interval_for,
    with_times,
)
from engine.ports import Doc

_MINUTE = 60 * SECOND
_NAMED = frozenset((*FIELDS, "gridTimestamp", "@timestamp", "@version", *ALWAYS))
_COLUMNS = ", ".join(f'log."{name}"' for name in (*FIELDS, "extra"))


@dataclass(frozen=True, slots=True)
class Key:
    """One sort field, as SQL."""

    name: str
    sql: str
    values: tuple[Any, ...]
    is_time: bool
    descending: bool


@dataclass(frozen=True, slots=True)
class Hit:
    keys: tuple[Any, ...]
    doc: Doc


# -- order


def sort_keys(sort: Iterable[tuple[str, int]]) -> list[Key]:
    """The sort fields and, last, the record's id, so that no two records are equal."""
    keys = [Key(name, *fields.sort_key(name), direction < 0) for name, direction in sort]
    check_sorts(len(keys))
    keys = keys or [Key("created", *fields.sort_key("created"), True)]
    if all(key.sql != "log.id" for key in keys):
        keys.append(Key("_id", "log.id", (), False, keys[-1].descending))
    return keys


def after(keys: list[Key], values: tuple[Any, ...], sorts: int) -> Condition:
    check_after(values, sorts, len(keys))
    pairs = [(key, after_value(key.name, value)) for key, value in zip(keys, values, strict=False)]
    sql, bound = "", ()
    for position, (key, value) in reversed(list(enumerate(pairs))):
        beyond = "<" if key.descending else ">"
        if position == len(pairs) - 1:
            sql, bound = f"{key.sql} {beyond} ?", (*key.values, value)
        else:
            # The first comparison alone implies nothing new, but lets SQLite use the index.
            sql = f"({key.sql} {beyond}= ? AND ({key.sql} {beyond} ? OR {sql}))"
            bound = (*key.values, value, *key.values, value, *bound)
    first, limit = pairs[0]
    low = limit if first.is_time and not first.descending else None
    high = limit if first.is_time and first.descending else None
    return Condition(sql, bound, "", low, high)


# -- pages


def columns(includes: tuple[str, ...]) -> str:
    """What to read so that `includes` (names and patterns, none for all) can be told: contents are long."""
    if not includes or any(char in name for name in includes for char in "*?["):
        return _COLUMNS
    wanted = {"id", "created", *includes}
    named = [f'log."{name}"' if name in wanted else "NULL" for name in FIELDS]
    return ", ".join([*named, "NULL" if wanted <= _NAMED else "log.extra"])


def fetch(
    month: LogMonth, condition: Condition, keys: list[Key], limit: int, index: str = "", includes: tuple[str, ...] = ()
) -> list[Hit]:
    if limit <= 0:
        return []
    chosen = ", ".join(key.sql for key in keys)
    order = ", ".join(f"{key.sql} {'DESC' if key.descending else 'ASC'}" for key in keys)
    sql = f"SELECT {columns(includes)}, {chosen} FROM log {index} WHERE {condition.sql} ORDER BY {order} LIMIT ?"  # noqa: S608
    paths = tuple(value for key in keys for value in key.values)
    try:
        with month.reading() as connection:
            rows = connection.exec_driver_sql(sql, (*paths, *condition.values, *paths, limit)).all()
    except MonthGone:
        return []
    return [_hit(month, tuple(row)) for row in rows]


def _hit(month: LogMonth, row: tuple[Any, ...]) -> Hit:
    width = len(FIELDS)
    source: Doc = {name: value for name, value in zip(FIELDS, row, strict=False) if value is not None}
    if row[width] is not None:
        source.update(orjson.loads(row[width]))
    keys = row[width + 1 :]
    doc = {**with_times(source, f"flow-{month.name}"), "sort": list(keys)}
    return Hit(keys, doc)


# -- counts


def _rows(month: LogMonth, sql: str, values: tuple[Any, ...], seconds: float) -> list[tuple[Any, ...]]:
    try:
        with month.reading(seconds) as connection:
            return [tuple(row) for row in connection.exec_driver_sql(sql, values)]
    except MonthGone:
        return []


def count_up_to(months: list[LogMonth], condition: Condition) -> int:
    total = 0
    for month in reversed(months):
        sql = f"SELECT count(*) FROM (SELECT 1 FROM log WHERE {condition.sql} LIMIT ?)"  # noqa: S608
        for (count,) in _rows(month, sql, (*condition.values, COUNTED - total), READ_SECONDS):
            total += count
        if total >= COUNTED:
            break
    return total


def histogram(months: list[LogMonth], condition: Condition) -> list[Doc]:
    """Counts in steps of equal length from the first match to the last, empty steps included.

    Raises TimedOut when counting takes too long.
    """
    step = _MINUTE
    counts = _grouped(months, condition, step)
    if counts and (max(counts) - min(counts)) * step < MAX_BUCKETS * _MINUTE:
        step = SECOND
        counts = _grouped(months, condition, step)
    if not counts:
        return []
    interval = interval_for((max(counts) - min(counts)) * step)
    buckets: dict[int, int] = {}
    for number, count in counts.items():
        key = number * step // interval
        buckets[key] = buckets.get(key, 0) + count
    return buckets_of(buckets, interval)


def _grouped(months: list[LogMonth], condition: Condition, step: int) -> dict[int, int]:
    sql = f"SELECT created / {step}, count(*) FROM log WHERE {condition.sql} GROUP BY 1"  # noqa: S608
    deadline = time.monotonic() + HISTOGRAM_SECONDS
    counts: dict[int, int] = {}
    for month in months:
        counts.update(dict(_rows(month, sql, condition.values, deadline - time.monotonic())))
    return counts
