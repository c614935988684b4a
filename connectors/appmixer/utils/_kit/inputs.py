"""Reading what a form has stored: switches, the rows of an expression, bytes in base64."""

from __future__ import annotations

import base64
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


def base64_bytes(text: str) -> bytes:
    """Both alphabets, with or without padding and line breaks. Raises ValueError."""
    plain = "".join(text.split()).translate({ord("-"): "+", ord("_"): "/"}).rstrip("=")
    return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
