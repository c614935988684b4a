"""Reading what a form has stored: switches, and the rows of an expression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def flag(value: Any, *, default: bool) -> bool:
    """A switch; `default` when it was never saved. A text counts as on when it says "true"."""
    if value is None or value == "":
        return default
    return value.strip().lower() == "true" if isinstance(value, str) else bool(value)


def entries(expression: Any, level: str) -> list[Mapping[str, Any]]:
    """The filled rows of one level: `{"AND": [row, …]}` → rows; anything else has none."""
    rows = expression.get(level) if isinstance(expression, Mapping) else None
    return [row for row in rows if isinstance(row, Mapping) and row] if isinstance(rows, list) else []
