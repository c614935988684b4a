"""Transform of the component's output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def toSelectArray(stores: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Stores → options of a select."""
    return [{"content": store["name"], "value": store["storeId"]} for store in stores]
