"""What ListProducts sends, in the forms that fields need."""

from __future__ import annotations

from typing import Any


def to_select(output: Any) -> list[dict[str, str]]:
    """Choices of a select field; none when nothing came."""
    return [{"label": p["name"], "value": p["id"]} for p in (output or {}).get("products", [])]
