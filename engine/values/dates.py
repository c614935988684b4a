"""Dates written and read by a pattern of moment-style tokens (`YYYY-MM-DD HH:mm`), in English.

Tokens: YYYY YY, Q, MMMM MMM MM M Mo, DDDD DDD, DD D Do, dddd ddd dd d E e, GGGG, WW W, HH H hh h kk k,
mm m, ss s, S … SSSSSS, A a, Z ZZ, X x, and the shorthands L LL LLL LLLL LT LTS. Text in
[brackets], and what is no token, stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache, partial
from zoneinfo import ZoneInfo

from engine.values.convert import Unfit

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July",
    "August", "September", "October", "November", "December",
)  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SHORTHANDS = {
    "LTS": "h:mm:ss A", "LT": "h:mm A", "LLLL": "dddd, MMMM D, YYYY h:mm A", "LLL": "MMMM D, YYYY h:mm A",
    "LL": "MMMM D, YYYY", "L": "MM/DD/YYYY",
}  # fmt: skip
_TOKEN = re.compile(
    r"\[[^\]]*\]|YYYY|YY|GGGG|Qo?|MMMM|MMM|MM|Mo|M|DDDD|DDD|DD|Do|D|dddd|ddd|dd|d|E|e|WW|W"
    r"|HH|H|hh|h|kk|k|mm|m|ss|s|S{1,6}|A|a|ZZ|Z|X|x|LTS|LT|L{1,4}|."
, re.DOTALL)  # fmt: skip


def zone(name: str) -> tzinfo:
    """A time zone by its name ("Europe/Prague") or offset ("+02:00"). Raises Unfit."""
    text = name.strip()
    if text.upper() in ("UTC", "Z", "GMT"):
        return UTC
    if (offset := re.fullmatch(r"([+-])(\d\d):?(\d\d)", text)) is not None and int(offset[2]) < 24:
        minutes = int(offset[2]) * 60 + int(offset[3])
        return timezone(timedelta(minutes=-minutes if offset[1] == "-" else minutes))
    try:
        return ZoneInfo(text)
    except (OSError, ValueError, LookupError) as error:
        raise Unfit(f'argument "timezone" must be a zone such as Europe/Prague or +02:00, not "{name}"') from error


@lru_cache(maxsize=512)
def _tokens(pattern: str) -> tuple[str, ...]:
    tokens: list[str] = []
    for token in _TOKEN.findall(pattern):
        tokens.extend(_TOKEN.findall(_SHORTHANDS[token]) if token in _SHORTHANDS else (token,))
    return tuple(tokens)


def format_date(moment: datetime, pattern: str) -> str:
    """Write an aware datetime."""
    return "".join([_WRITERS[t](moment) if t in _WRITERS else _plain(t) for t in _tokens(pattern)])


def _plain(token: str) -> str:
    return token[1:-1] if len(token) > 1 and token[0] == "[" else token


def _ordinal(number: int) -> str:
    teens = 10 <= number % 100 <= 20
    return f"{number}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def _fraction(digits: int, moment: datetime) -> str:
    return f"{moment.microsecond:06d}"[:digits]


def _offset(moment: datetime, colon: str) -> str:
    minutes = round((moment.utcoffset() or timedelta()).total_seconds() / 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}{colon}{abs(minutes) % 60:02d}"


_WRITERS: dict[str, Callable[[datetime], str]] = {
    "YYYY": lambda m: f"{m.year:04d}",
    "YY": lambda m: f"{m.year % 100:02d}",
    "GGGG": lambda m: f"{m.isocalendar().year:04d}",
    "Q": lambda m: str((m.month + 2) // 3),
    "Qo": lambda m: _ordinal((m.month + 2) // 3),
    "MMMM": lambda m: MONTHS[m.month - 1],
    "MMM": lambda m: MONTHS[m.month - 1][:3],
    "MM": lambda m: f"{m.month:02d}",
    "Mo": lambda m: _ordinal(m.month),
    "M": lambda m: str(m.month),
    "DDDD": lambda m: f"{m.timetuple().tm_yday:03d}",
    "DDD": lambda m: str(m.timetuple().tm_yday),
    "DD": lambda m: f"{m.day:02d}",
    "Do": lambda m: _ordinal(m.day),
    "D": lambda m: str(m.day),
    "dddd": lambda m: DAYS[m.weekday()],
    "ddd": lambda m: DAYS[m.weekday()][:3],
    "dd": lambda m: DAYS[m.weekday()][:2],
    "d": lambda m: str(m.isoweekday() % 7),
    "e": lambda m: str(m.isoweekday() % 7),
    "E": lambda m: str(m.isoweekday()),
    "WW": lambda m: f"{m.isocalendar().week:02d}",
    "W": lambda m: str(m.isocalendar().week),
    "HH": lambda m: f"{m.hour:02d}",
    "H": lambda m: str(m.hour),
    "hh": lambda m: f"{m.hour % 12 or 12:02d}",
    "h": lambda m: str(m.hour % 12 or 12),
    "kk": lambda m: f"{m.hour or 24:02d}",
    "k": lambda m: str(m.hour or 24),
    "mm": lambda m: f"{m.minute:02d}",
    "m": lambda m: str(m.minute),
    "ss": lambda m: f"{m.second:02d}",
    "s": lambda m: str(m.second),
    **{"S" * digits: partial(_fraction, digits) for digits in range(1, 7)},
    "A": lambda m: "AM" if m.hour < 12 else "PM",
    "a": lambda m: "am" if m.hour < 12 else "pm",
    "Z": lambda m: _offset(m, ":"),
    "ZZ": lambda m: _offset(m, ""),
    "X": lambda m: str(int(m.timestamp())),
    "x": lambda m: str(round(m.timestamp() * 1000)),
}

_NAME = r"[A-Za-z]{2,9}"
_READERS: dict[str, tuple[str, str]] = {
    "YYYY": ("year", r"\d{4}"), "YY": ("year2", r"\d{2}"), "MMMM": ("monthname", _NAME), "MMM": ("monthname", _NAME),
    "MM": ("month", r"\d{2}"), "M": ("month", r"\d{1,2}"), "DD": ("day", r"\d{2}"), "D": ("day", r"\d{1,2}"),
    "Do": ("day", r"\d{1,2}(?:st|nd|rd|th)"),
    "dddd": ("weekday", _NAME), "ddd": ("weekday", _NAME), "dd": ("weekday", _NAME),
    "HH": ("hour", r"\d{2}"), "H": ("hour", r"\d{1,2}"), "hh": ("hour12", r"\d{2}"), "h": ("hour12", r"\d{1,2}"),
    "mm": ("minute", r"\d{2}"), "m": ("minute", r"\d{1,2}"), "ss": ("second", r"\d{2}"), "s": ("second", r"\d{1,2}"),
    **{"S" * n: ("fraction", rf"\d{{{n}}}") for n in range(1, 7)},
    "A": ("half", "[AaPp][Mm]"), "a": ("half", "[AaPp][Mm]"),
    "Z": ("offset", r"Z|[+-]\d\d:?\d\d"), "ZZ": ("offset", r"Z|[+-]\d\d:?\d\d"),
    "X": ("epoch", r"-?\d+(?:\.\d+)?"), "x": ("epochms", r"-?\d+"),
}  # fmt: skip


def parse_date(text: str, pattern: str, default_zone: tzinfo) -> datetime:
    """Read text written by `pattern`; what the pattern lacks is the first of January 1970, 00:00. Raises Unfit."""
    found = _read(text.strip(), pattern)
    try:
        if "epoch" in found or "epochms" in found:
            seconds = float(found["epoch"]) if "epoch" in found else int(found["epochms"]) / 1000
            return datetime.fromtimestamp(seconds, UTC)
        return datetime(
            _year(found),
            _month(found),
            int(found.get("day", 1)),
            _hour(found),
            int(found.get("minute", 0)),
            int(found.get("second", 0)),
            int(found.get("fraction", "0").ljust(6, "0")),
            zone(found["offset"]) if "offset" in found else default_zone,
        )
    except (ValueError, OverflowError, OSError) as error:
        raise Unfit(f'"{text[:40]}" is not a date that exists') from error


def _read(text: str, pattern: str) -> dict[str, str]:
    expression, names = "", []
    for token in _tokens(pattern):
        if token not in _READERS:
            expression += re.escape(_plain(token))
            continue
        name, part = _READERS[token]
        if name in names:  # besides making no sense, it could take forever to match
            raise Unfit(f'argument "format" has two tokens for the {name}')
        expression += f"({part})"
        names.append(name)
    match = re.fullmatch(expression, text) if len(text) <= 200 else None
    if match is None:
        raise Unfit(f'the value must be a date written as "{pattern}", not "{text[:40]}"')
    found = dict(zip(names, match.groups(), strict=True))
    if "day" in found:
        found["day"] = found["day"].rstrip("stndrh")
    return found


def _year(found: dict[str, str]) -> int:
    if "year2" in found:  # as moment: 68 is 2068, 69 is 1969
        short = int(found["year2"])
        return short + (2000 if short <= 68 else 1900)
    return int(found.get("year", 1970))


def _month(found: dict[str, str]) -> int:
    if "monthname" not in found:
        return int(found.get("month", 1))
    name = found["monthname"].lower()
    for index, month in enumerate(MONTHS):
        if name in (month.lower(), month[:3].lower()):
            return index + 1
    raise Unfit(f'"{found["monthname"]}" is not the English name of a month')


def _hour(found: dict[str, str]) -> int:
    if "hour12" not in found:
        return int(found.get("hour", 0))
    hour = int(found["hour12"])
    if not 1 <= hour <= 12:
        raise ValueError(hour)
    return hour % 12 + (12 if found.get("half", "am").lower() == "pm" else 0)
