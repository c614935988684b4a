"""JSON values as JavaScript sees them: numbers, texts, dates.

Flows made for the original platform rely on its JavaScript conversions, so components that
compare or join values use these and not Python's own.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

NAN = math.nan

# each part can match in one way only: texts come from anybody, and trying ways takes the square of their length
_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_RADIX = re.compile(r"0([xXoObB])([0-9a-fA-F]+)")
_BASES = {"x": 16, "o": 8, "b": 2}
_FORMATS = (
    "%Y/%m/%d",
    "%m/%d/%Y",
    "%d %b %Y",
    "%d %B %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%b %d %Y",
    "%B %d %Y",
)
_CLOCKS = ("", " %H:%M", " %H:%M:%S")


def json_text(value: Any) -> str:
    """Compact JSON."""
    return orjson.dumps(value).decode()


def as_text(value: Any) -> str:
    """A text unchanged, anything else as JSON text."""
    return value if isinstance(value, str) else json_text(value)


def script_text(value: Any) -> str:
    """`String(value)` in JavaScript: `null`, `1`, `a,b` for a list, `[object Object]`."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ",".join("" if item is None else script_text(item) for item in value)
    if isinstance(value, dict):
        return "[object Object]"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return json_text(value)


def number(value: Any) -> float:
    """`Number(value)` in JavaScript, NaN when there is none: null and blank texts are 0, true is 1."""
    if isinstance(value, bool | int | float):
        return value
    if value is None:
        return 0
    if isinstance(value, dict):
        return NAN
    text = (value if isinstance(value, str) else script_text(value)).strip()
    if not text:
        return 0
    if is_decimal(text):
        return int(text) if text.lstrip("+-").isdigit() and len(text) < 16 else float(text)
    if radix := _RADIX.fullmatch(text):
        try:
            return float(int(radix[2], _BASES[radix[1].lower()]))
        except ValueError:
            return NAN
        except OverflowError:
            return math.inf
    return {"Infinity": math.inf, "+Infinity": math.inf, "-Infinity": -math.inf}.get(text, NAN)


def is_decimal(text: str) -> bool:
    """Whether a text is a number as people write it: `12`, `-1.5`, `.5`, `1e3`."""
    return _DECIMAL.fullmatch(text) is not None


def moment(value: Any) -> float:
    """Epoch milliseconds of a date, NaN when it is none.

    Dates are ISO 8601 with or without a time (`2017-04-23 22:45`), the form of mail headers, or
    one of a few usual written forms; a number is epoch milliseconds. Without a zone: UTC.
    """
    if isinstance(value, bool):
        return NAN
    if isinstance(value, int | float):
        return value
    if not isinstance(value, str):
        return NAN
    found = parse_date(value)
    return NAN if found is None else found.timestamp() * 1000


def parse_date(text: str) -> datetime | None:
    """An aware date-time, UTC when the text names no zone; None when the text is no date."""
    text = text.strip()
    if "-" not in text and not re.search(r"[/ ]", text):
        return None  # a bare number such as 2017 or 20170423 is not meant as a date
    found = _iso(text) or _written(text)
    if found is not None and found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return found


def _iso(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    try:
        # a month alone counts from its first day
        return datetime.combine(date.fromisoformat(f"{text}-01"), datetime.min.time())
    except ValueError:
        return None


def _written(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text)
    except ValueError:
        pass
    for day in _FORMATS:
        for clock in _CLOCKS:
            try:
                return datetime.strptime(text, day + clock)  # noqa: DTZ007 the zone is set by the caller
            except ValueError:
                continue
    return None
