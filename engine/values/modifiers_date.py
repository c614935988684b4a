"""Dates. They come in as ISO text or as milliseconds since 1970, and go out as ISO text in UTC."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta

from engine.model.times import iso
from engine.values.convert import Unfit
from engine.values.dates import format_date, parse_date, zone
from engine.values.frame import Call
from engine.values.registry import Argument, Example, modifier

_ZONE = Argument("timezone", "string", "such as Europe/Prague or +02:00", default="UTC")
_UNIT = Argument("unit", "string", "years, months, weeks, days, hours, minutes, seconds or milliseconds")
_MILLISECONDS = {
    "weeks": 604_800_000, "days": 86_400_000, "hours": 3_600_000, "minutes": 60_000, "seconds": 1000, "milliseconds": 1,
}  # fmt: skip
_DAY = "2026-01-31T08:15:00.000Z"


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _text(moment: datetime) -> str:
    return iso(_ms(moment))


def _unit(text: str) -> str:
    """The plural name of a unit. Raises Unfit."""
    name = text.strip().lower().removesuffix("s") + "s"
    if name not in (*_MILLISECONDS, "years", "months"):
        raise Unfit(f'argument "unit" must be years, months, weeks, days, hours, minutes or seconds, not "{text}"')
    return name


@modifier(
    "g_now", "Now", "date", "The time at which the message is worked on.", returns="date", input=None, contextual=True,
    examples=[Example(None, [], _DAY), Example("ignored", [], _DAY)],
)  # fmt: skip
def now(call: Call) -> str:
    return iso(call.frame.now_ms)


@modifier(
    "g_timestamp", "Timestamp", "date", "The time at which the message is worked on, in milliseconds since 1970.",
    returns="number", input=None, contextual=True,
    examples=[Example(None, [], 1769847300000), Example("ignored", [], 1769847300000)],
)  # fmt: skip
def timestamp(call: Call) -> int:
    return call.frame.now_ms


@modifier(
    "g_formatDate", "Format date", "date", "A date as text of any form.",
    Argument("format", "string", "such as YYYY-MM-DD HH:mm, or D MMMM YYYY", default="YYYY-MM-DDTHH:mm:ssZ"), _ZONE,
    returns="string", input="date",
    examples=[
        Example(_DAY, ["D MMMM YYYY, HH:mm"], "31 January 2026, 08:15"),
        Example(_DAY, ["HH:mm Z", "Europe/Prague"], "09:15 +01:00"),
        Example(0, ["[on] dddd"], "on Thursday"),
    ],
)  # fmt: skip
def format_date_(value: datetime, pattern: str, timezone: str) -> str:
    return format_date(value.astimezone(zone(timezone or "UTC")), pattern)


@modifier(
    "g_parseDate", "Parse date", "date", "Text of a known form as a date.",
    Argument("format", "string", "how the date is written, such as DD.MM.YYYY"), _ZONE,
    returns="date", input="string",
    examples=[
        Example("31.01.2026", ["DD.MM.YYYY"], "2026-01-31T00:00:00.000Z"),
        Example("1/31/26 9:15 am", ["M/D/YY h:mm a", "Europe/Prague"], _DAY),
    ],
)  # fmt: skip
def parse_date_(value: str, pattern: str, timezone: str) -> str:
    return _text(parse_date(value, pattern, zone(timezone or "UTC")))


def _part(name: str) -> Argument:
    return Argument(name, "number", f"how many {name} to add; negative goes back", default=0, named=True)


@modifier(
    "g_addTimeSpan", "Add time", "date", "A date some time later, or earlier.",
    *(_part(name) for name in ("years", "months", *_MILLISECONDS)),
    returns="date", input="date",
    examples=[
        Example(_DAY, [], "2026-02-01T10:15:00.000Z", {"days": 1, "hours": "2"}),
        Example(_DAY, [], "2026-02-28T08:15:00.000Z", {"months": 1}),
        Example(_DAY, [], "2026-01-31T08:05:00.000Z", {"minutes": -10}),
    ],
)  # fmt: skip
def add_time_span(value: datetime, years: float, months: float, *spans: float) -> str:
    added = years * 12 + months
    if not float(added).is_integer():
        raise Unfit("years and months must come to a whole number of months; use days for parts of one")
    moment = _add_months(value, int(added))
    milliseconds = sum(span * size for span, size in zip(spans, _MILLISECONDS.values(), strict=True))
    try:
        return _text(moment + timedelta(milliseconds=milliseconds))
    except (OverflowError, ValueError) as error:
        raise Unfit("the date would be outside the years 1 to 9999") from error


def _add_months(moment: datetime, months: int) -> datetime:
    """The same day, or the last one of a month that is shorter."""
    index = moment.year * 12 + moment.month - 1 + months
    year, month = divmod(index, 12)
    if not 1 <= year <= 9999:
        raise Unfit("the date would be outside the years 1 to 9999")
    day = min(moment.day, calendar.monthrange(year, month + 1)[1])
    return moment.replace(year=year, month=month + 1, day=day)


@modifier(
    "g_dateDiff", "Difference of dates", "date", "How much later another date is; negative when it is earlier.",
    Argument("other", "date", "the other date"), Argument(_UNIT.name, _UNIT.type, _UNIT.description, default="days"),
    returns="number", input="date",
    examples=[
        Example(_DAY, ["2026-02-02T20:15:00Z"], 2.5),
        Example(_DAY, ["2026-03-31T08:15:00Z", "months"], 2),
        Example("2026-02-01", ["2026-01-31", "hours"], -24),
    ],
)  # fmt: skip
def date_diff(value: datetime, other: datetime, unit: str) -> float:
    name = _unit(unit)
    if name not in _MILLISECONDS:
        months = _whole_months(value.astimezone(UTC), other.astimezone(UTC))
        return int(months / 12) if name == "years" else months
    difference = (_ms(other) - _ms(value)) / _MILLISECONDS[name]
    return int(difference) if difference.is_integer() else difference


def _whole_months(start: datetime, end: datetime) -> int:
    """Full months between two dates, towards zero."""
    if end < start:
        return -_whole_months(end, start)
    months = (end.year - start.year) * 12 + end.month - start.month
    return months - 1 if _add_months(start, months) > end else months


@modifier(
    "g_toTimestamp", "Date to timestamp", "date", "A date in milliseconds since 1970.", returns="number", input="date",
    examples=[Example(_DAY, [], 1769847300000), Example("1970-01-01", [], 0)],
)  # fmt: skip
def to_timestamp(value: datetime) -> int:
    return _ms(value)


def _start(value: datetime, unit: str, timezone: str) -> tuple[datetime, str]:
    name = _unit(unit)
    local = value.astimezone(zone(timezone or "UTC"))
    if name == "weeks":
        local -= timedelta(days=local.weekday())
    order = ("years", "months", "days", "hours", "minutes", "seconds")
    depth = order.index("days" if name == "weeks" else name) if name != "milliseconds" else len(order)
    smaller = {"month": 1, "day": 1, "hour": 0, "minute": 0, "second": 0, "microsecond": 0}
    return local.replace(**dict(list(smaller.items())[depth:])), name  # type: ignore[arg-type]


@modifier(
    "g_startOf", "Start of", "date", "The first moment of the year, month, week (Monday), day, hour … of a date.",
    _UNIT, _ZONE, returns="date", input="date",
    examples=[
        Example(_DAY, ["month"], "2026-01-01T00:00:00.000Z"),
        Example(_DAY, ["day", "Europe/Prague"], "2026-01-30T23:00:00.000Z"),
        Example(_DAY, ["week"], "2026-01-26T00:00:00.000Z"),
    ],
)  # fmt: skip
def start_of(value: datetime, unit: str, timezone: str) -> str:
    return _text(_start(value, unit, timezone)[0])


@modifier(
    "g_endOf", "End of", "date", "The last millisecond of the year, month, week, day, hour … of a date.",
    _UNIT, _ZONE, returns="date", input="date",
    examples=[
        Example(_DAY, ["month"], "2026-01-31T23:59:59.999Z"),
        Example("2028-02-03", ["year"], "2028-12-31T23:59:59.999Z"),
    ],
)  # fmt: skip
def end_of(value: datetime, unit: str, timezone: str) -> str:
    start, name = _start(value, unit, timezone)
    if name in ("years", "months"):
        following = _add_months(start, 12 if name == "years" else 1)
    else:
        following = start + timedelta(milliseconds=_MILLISECONDS[name])
    return iso(_ms(following) - 1)
