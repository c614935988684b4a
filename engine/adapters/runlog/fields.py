"""What all run logs agree on: fields of records, times in queries, months, and how far a search goes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

import orjson

from engine.errors import BadRequest
from engine.model.log import LogQuery
from engine.model.times import from_iso, iso
from engine.ports import Doc

FIELDS = (
    "id", "created", "flowId", "componentId", "componentType", "correlationId", "severity", "type", "portType", "port",
    "senderId", "senderType", "userId", "runId", "entity", "bundleId", "msg", "err",
)  # fmt: skip
"""Keys of a record with a place of their own, by that name; the others are kept together."""

SEARCHED = ("msg", "err", "componentType")
"""Fields whose words a search without a field looks for."""

IDS = ("id", "correlationId", "flowId")
EXACT = frozenset((*IDS, "componentId", "senderId", "userId", "bundleId"))
"""Compared with their case."""

ALWAYS = ("_id", "_index", "sort")
_TEXT = frozenset(("msg", "err"))
_TIMES = frozenset(("created", "gridTimestamp", "@timestamp"))
_NAMES = {**{name: name for name in FIELDS}, "_id": "id"}

COUNTED = 10_000
"""Matches are counted up to here unless a histogram is asked for."""

WINDOW = 10_000
"""Largest `offset + size`; beyond it readers page by `search_after` (Elasticsearch's figure)."""

MAX_SORTS = 5
MAX_BUCKETS = 60
READ_SECONDS = 10.0
"""A longer search is given up."""

HISTOGRAM_SECONDS = 3.0
"""A page of millions of records comes without its histogram rather than late."""

SECOND = 1000
_INTERVALS = tuple(
    SECOND * seconds
    for seconds in (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 10_800, 21_600, 43_200, 86_400, 604_800, 2_592_000)
)
_LAST = 253_402_300_799_999
"""The last millisecond of the year 9999."""

_DATE = re.compile(r"(\d{4})(?:-(\d{2}))?(?:-(\d{2}))?")
_UNITS = ((re.compile(r".*[T ]\d\d:\d\d:\d\d[.,]\d+"), 1), (re.compile(r".*[T ]\d\d:\d\d:\d\d"), 1000))
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


# -- names


def canonical(name: str) -> str:
    """Elasticsearch's `.keyword` twins are the field itself here."""
    return name.removesuffix(".keyword")


def known(name: str) -> str | None:
    """The name in FIELDS, if the field is one of them."""
    return _NAMES.get(canonical(name))


def is_time(name: str) -> bool:
    return canonical(name) in _TIMES


def is_text(name: str) -> bool:
    return name in _TEXT


def path_of(name: str) -> list[str]:
    """Raises BadRequest for names that cannot be a path."""
    parts = canonical(name).split(".")
    if not all(parts) or '"' in name:
        raise BadRequest(f"{name!r} is not the name of a field")
    return parts


def is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


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


def month_name(created: int) -> str:
    return datetime.fromtimestamp(created / 1000, UTC).strftime("%Y%m")


def month_span(name: str) -> tuple[int, int]:
    """First millisecond of the month and of the next."""
    year, month = int(name[:4]), int(name[4:])
    first = datetime(year, month, 1, tzinfo=UTC)
    following = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    return int(first.timestamp()) * 1000, int(following.timestamp()) * 1000


def by_month(records: Iterable[Doc]) -> dict[str, list[Doc]]:
    """Records by the month of their `created`, in the order of the months."""
    start = end = 0
    batches: dict[str, list[Doc]] = {}
    batch: list[Doc] = []
    for record in records:
        created = record["created"]
        if not start <= created < end:
            name = month_name(created)
            start, end = month_span(name)
            batch = batches.setdefault(name, [])
        batch.append(record)
    return dict(sorted(batches.items()))


# -- pages


def check_window(query: LogQuery) -> None:
    if query.size < 0 or query.offset < 0:
        raise BadRequest("size and from must not be negative")
    if query.offset + query.size > WINDOW:
        raise BadRequest(f"from + size is {query.offset + query.size}; beyond {WINDOW} page with searchAfter")
    if query.search_after and query.offset:
        raise BadRequest("from and searchAfter exclude each other")


def check_sorts(sorts: int) -> None:
    if sorts > MAX_SORTS:
        raise BadRequest(f"sort by at most {MAX_SORTS} fields, not {sorts}")


def check_after(values: Sequence[Any], sorts: int, keys: int) -> None:
    """`sorts` fields were asked for, `keys` with the tiebreaker."""
    if len(values) not in (sorts, keys):
        raise BadRequest(f"searchAfter has {len(values)} values but sort has {sorts} fields; give one for each")


def after_value(name: str, value: Any) -> Any:
    """A search_after value as records are sorted: REST hands numbers over as text."""
    if is_time(name):
        return value if isinstance(value, int) and not isinstance(value, bool) else moment(str(value))[0]
    return "" if value is None else str(value)


def with_times(source: Doc, index: str) -> Doc:
    """A record as a hit, but for `sort`."""
    moment_text = iso(source["created"])
    return {
        **source,
        "gridTimestamp": moment_text,
        "@timestamp": moment_text,
        "@version": "1",
        "_id": source["id"],
        "_index": index,
    }


def trim(doc: Doc, query: LogQuery) -> Doc:
    if not query.includes and not query.excludes:
        return doc

    def kept(name: str) -> bool:
        if name in ALWAYS:
            return True
        if query.includes and not any(fnmatchcase(name, pattern) for pattern in query.includes):
            return False
        return not any(fnmatchcase(name, pattern) for pattern in query.excludes)

    return {name: value for name, value in doc.items() if kept(name)}


# -- histogram


def interval_for(span: int) -> int:
    """Milliseconds of a step of equal length, so that about MAX_BUCKETS of them cover `span`."""
    return next((length for length in _INTERVALS if span // length < MAX_BUCKETS), _INTERVALS[-1])


def buckets_of(counts: Mapping[int, int], interval: int) -> list[Doc]:
    """Steps numbered from 1970, and how many matches each has; empty ones in between included."""
    return [
        {"key_as_string": iso(number * interval), "key": number * interval, "doc_count": counts.get(number, 0)}
        for number in range(min(counts), max(counts) + 1)
    ]


def mended(record: Doc) -> Doc:
    """The record with what a storage cannot take (objects, lone surrogates) turned into text."""
    return {key: value if value is None or key == "created" else as_text(value) for key, value in record.items()}


def as_text(value: Any) -> str:
    """A value no storage takes as it is, as text that every one takes."""
    try:
        text = value if isinstance(value, str) else orjson.dumps(value, default=repr).decode()
    except TypeError:  # orjson's own limits: surrogates, integers over 64 bits, deep nesting
        text = repr(value)
    return text.encode("utf-8", "replace").decode()
