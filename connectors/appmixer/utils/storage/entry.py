"""Entries of a data store as the steps emit them."""

from __future__ import annotations

from typing import Any

from engine.sdk import Context


def found(context: Context, store_id: str, key: str) -> dict[str, Any] | None:
    """{key, value, createdAt, updatedAt}; a missing key and a kept null are the same: None."""
    entry = context.stores.get(store_id, key)
    if entry is None or entry.get("value") is None:
        return None
    return {name: entry[name] for name in ("key", "value", "createdAt", "updatedAt")}
