"""JSON values as text, numbers, lists and dates, by the rules every modifier and template shares."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from engine.errors import StepError

MAX_TEXT = 16 * 1024 * 1024
"""Longest text, in characters, a modifier may make: one message must not fill the memory."""


class Unfit(ValueError):
    """A value is not of the wanted kind; the text says which one it should be."""


def describe(value: Any) -> str:
    """The kind of a value in people's words, with a short extract: `text "abc"`, `a list of 3`."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {number_text(value)[:40]}"
    if isinstance(value, str):
        return f'text "{value[:40]}{"…" if len(value) > 40 else ""}"'
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return "an object" if isinstance(value, dict) else f"a {type(value).__name__}"


# -- to text


def number_text(value: float) -> str:
    """As JavaScript writes numbers: no `.0`, an exponent from 1e21 up and below 1e-6."""
    if isinstance(value, int):
        # Longer integers would take quadratic time, and Python refuses them.
        return str(value) if value.bit_length() < 4096 else "Infinity" if value > 0 else "-Infinity"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    text = repr(value)
    mantissa, mark, exponent = text.partition("e")
    if not mark:
        return text.removesuffix(".0") if value else "0"
    if 1e-6 <= abs(value) < 1e21:
        return f"{Decimal(text):f}"
    return f"{mantissa}e{int(exponent):+d}"


def json_text(value: Any, *, indent: bool = False) -> str:
    """Compact JSON, integral numbers without `.0`. Raises StepError for what is no JSON or nests too deep."""
    option = orjson.OPT_NON_STR_KEYS | (orjson.OPT_INDENT_2 if indent else 0)
    try:
        data = orjson.dumps(value, option=option)
        if b".0" in data:
            data = orjson.dumps(_whole(value), option=option)
    except (TypeError, RecursionError) as error:
        raise StepError(f"{describe(value)} cannot be written as JSON: {error}", retryable=False) from error
    return data.decode()


def _whole(value: Any) -> Any:
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list) else value


def to_text(value: Any) -> str:
    """How a value appears inside text (engine.md §4): nothing as "", lists and objects as JSON."""
    if value.__class__ is str:
        return value
    if value is None:
        return ""
    if value is True:
        return "true"
    if value is False:
        return "false"
    return number_text(value) if isinstance(value, int | float) else json_text(value)


def fits(size: int) -> None:
    """Raises Unfit when a result of `size` characters would be too long."""
    if size > MAX_TEXT:
        raise Unfit(f"result would be longer than {MAX_TEXT} characters")


# -- to other kinds; each raises Unfit


def to_number(value: Any) -> float:
    """Text holding a decimal number counts, as do true (1) and false (0)."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return value
    if isinstance(value, str):
        text = value.strip()
        # int() and float() take more than JSON does: "1_000", "nan", "infinity".
        if text and len(text) <= 400 and text.lower().strip("+-0123456789.e") == "":
            try:
                return int(text) if text.lstrip("+-").isdigit() else float(text)
            except ValueError:
                pass
    raise Unfit("a number")


def checked_number(value: float) -> float:
    """A result: integers beyond 64 bits become floats. Raises Unfit when there is no finite number."""
    if isinstance(value, int):
        if -(2**63) <= value < 2**64:
            return value
        try:
            value = float(value)
        except OverflowError as error:
            raise Unfit("result is too large a number") from error
    if not math.isfinite(value):
        raise Unfit("result is not a number" if math.isnan(value) else "result is too large a number")
    return value


def to_integer(value: Any) -> int:
    number = to_number(value)
    if isinstance(number, float) and (not math.isfinite(number) or not number.is_integer()):
        raise Unfit("a whole number")
    if abs(number) >= 2**63:
        raise Unfit("a whole number below 2^63")
    return int(number)


def to_boolean(value: Any) -> bool:
    """Nothing, false, 0, "", "false" and "0" are false; empty lists and objects are true, as in JavaScript."""
    if isinstance(value, str):
        return value.strip().lower() not in ("", "false", "0")
    return bool(value) or isinstance(value, list | dict)


def to_list(value: Any) -> list[Any]:
    """Nothing is an empty list; text holding a JSON list counts."""
    if isinstance(value, list):
        return value
    if value is None:
        return []
    parsed = _parsed(value, "[")
    if isinstance(parsed, list):
        return parsed
    raise Unfit("a list")


def to_object(value: Any) -> dict[str, Any]:
    """Nothing is an empty object; text holding a JSON object counts."""
    if isinstance(value, dict):
        return value
    if value is None:
        return {}
    parsed = _parsed(value, "{")
    if isinstance(parsed, dict):
        return parsed
    raise Unfit("an object")


def _parsed(value: Any, opening: str) -> Any:
    if not isinstance(value, str) or not value.lstrip().startswith(opening):
        return None
    try:
        return orjson.loads(value)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return None


def to_date(value: Any) -> datetime:
    """ISO 8601 or RFC 2822 text, or epoch milliseconds; text without a zone is UTC."""
    if isinstance(value, datetime):
        return value
    moment = _epoch(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    if isinstance(value, str):
        moment = _date_text(value.strip())
    if moment is None:
        raise Unfit("a date (ISO text such as 2026-01-31T08:15:00Z, or milliseconds since 1970)")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _date_text(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    if text.lstrip("-").isdigit() and len(text) <= 16:
        return _epoch(int(text))
    try:
        return parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _epoch(milliseconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def any_value(value: Any) -> Any:
    return value


KINDS: dict[str, Callable[[Any], Any]] = {
    "any": any_value,
    "string": to_text,
    "number": to_number,
    "integer": to_integer,
    "boolean": to_boolean,
    "array": to_list,
    "object": to_object,
    "date": to_date,
}
"""By the type names of the modifier registry (rest-api.md §8)."""
