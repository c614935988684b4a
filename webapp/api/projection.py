"""The list parameter `projection` on finished answers (rest-api.md §1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def projected(items: Iterable[Mapping[str, Any]], args: Mapping[str, str]) -> list[dict[str, Any]]:
    """Only the fields `name,storeId` asks for, or all but those of `-value`; whether it is well formed is
    `parse_list`'s business."""
    names = [name.strip() for name in args.get("projection", "").split(",") if name.strip()]
    excluded = {name[1:] for name in names if name.startswith("-")}
    included = {name for name in names if not name.startswith("-")}
    return [
        {key: value for key, value in item.items() if key not in excluded and (not included or key in included)}
        for item in items
    ]
