"""Fit content to a port's schema where the meaning is certain. Pure; only tried after validation has failed.

Designers save numbers and switches as text now and then, and a variable that led nowhere arrives
as null: "5" becomes 5 for a number field, "true" becomes true for a boolean one, and a null that
the schema does not allow is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def fit(content: Any, schema: Mapping[str, Any] | None) -> Any:
    """Top-level fields only. Returns the content itself when there is nothing to do."""
    properties = (schema or {}).get("properties")
    if not isinstance(content, Mapping) or not isinstance(properties, Mapping):
        return content
    result = {}
    for name, value in content.items():
        declared = properties.get(name)
        if not isinstance(declared, Mapping):
            result[name] = value
        elif value is not None or _nullable(declared):
            result[name] = _as(value, _types(declared))
    return result


def _types(declared: Mapping[str, Any]) -> tuple[str, ...]:
    kind = declared.get("type")
    return (kind,) if isinstance(kind, str) else tuple(kind) if isinstance(kind, list) else ()


def _nullable(declared: Mapping[str, Any]) -> bool:
    kinds = _types(declared)
    return not kinds or "null" in kinds or declared.get("nullable") is True


def _as(value: Any, kinds: tuple[str, ...]) -> Any:
    if not isinstance(value, str) or "string" in kinds:
        return value
    text = value.strip()
    if "boolean" in kinds and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if "integer" in kinds or "number" in kinds:
        try:
            number = float(text)
        except ValueError:
            return value
        if number.is_integer() and abs(number) < 2**53:
            return int(number)
        return number if "number" in kinds and number - number == 0 else value
    return value
