"""Searching the run log (rest-api.md §7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Parameters of GET /logs (rest-api.md §7). `owner_flows=None` means any flow."""

    query: str = ""
    flow_ids: tuple[str, ...] | None = None
    port_types: tuple[str, ...] = ()
    sort: tuple[tuple[str, int], ...] = (("gridTimestamp", -1),)
    size: int = 50
    offset: int = 0
    search_after: tuple[Any, ...] = ()
    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    buckets: bool = True


@dataclass(frozen=True, slots=True)
class LogPage:
    """`hits` are flattened records with `_id`, `_index` and `sort`; `buckets` a date histogram.

    `sort` ends with the record's id and may be given back whole as `search_after`. `total` and
    `buckets` do not depend on `search_after`; `total` stops at 10,000 unless `buckets` are asked
    for, and a histogram that takes too long to count is left out (`buckets` empty).
    """

    hits: list[dict[str, Any]]
    buckets: list[dict[str, Any]]
    total: int
