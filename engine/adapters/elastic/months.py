"""The monthly indexes: made by a template, measured, deleted whole or in part."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from engine.adapters.elastic import bulk
from engine.adapters.elastic.connection import BULK_SECONDS, Connection
from engine.adapters.elastic.dialect import Query, all_of
from engine.adapters.elastic.mapping import template
from engine.adapters.runlog.fields import month_span
from engine.errors import HeadraceError, NotFound

_DELETED_AT_ONCE = 5_000
_PAUSE = 0.01
"""Seconds between two batches of a deletion, so that who appends gets a turn."""


@dataclass(frozen=True, slots=True)
class Month:
    """One index. `deleted` are records whose space is not free yet."""

    index: str
    records: int
    deleted: int
    size: int

    @property
    def span(self) -> tuple[int, int]:
        return month_span(self.index.rpartition("-")[2])

    @property
    def used(self) -> int:
        """Bytes, without those of deleted records."""
        return self.size * self.records // max(self.records + self.deleted, 1)


class Months:
    def __init__(self, connection: Connection, prefix: str, shards: int) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", prefix):
            raise HeadraceError(f"{prefix!r} cannot begin the names of indexes: use small letters, digits and _")
        self._connection = connection
        self._prefix = prefix
        self._shards = shards
        self._made = False

    def index(self, month: str) -> str:
        """The index of a month (YYYYMM), which the server makes when it is first written to."""
        if not self._made:
            path = f"/_index_template/{self._prefix}"
            self._connection.call("PUT", path, template(self._prefix, self._shards), seconds=BULK_SECONDS)
            self._made = True
        return f"{self._prefix}-{month}"

    def refresh(self) -> None:
        """What was written until now is found from now on."""
        self._connection.call("POST", f"/{self._prefix}-*/_refresh", seconds=BULK_SECONDS, ignore_unavailable="true")

    def all(self) -> list[Month]:
        """Oldest first."""
        told = self._connection.call("GET", f"/{self._prefix}-*/_stats/docs,store", ignore_unavailable="true")
        found = []
        for index, stats in told.get("indices", {}).items():
            if re.fullmatch(rf"{self._prefix}-\d{{6}}", index):
                docs, store = stats["primaries"]["docs"], stats["total"]["store"]
                found.append(Month(index, docs["count"], docs.get("deleted", 0), store["size_in_bytes"]))
        return sorted(found, key=lambda month: month.index)

    def drop(self, month: Month) -> int:
        """Delete it whole; how many records it had."""
        try:
            self._connection.call("DELETE", f"/{month.index}", seconds=BULK_SECONDS)
        except NotFound:
            return 0
        return month.records

    def delete(self, month: Month, parts: Sequence[Query]) -> int:
        """Delete the records that match all; how many those were.

        By search and bulk requests: that is what the server's own delete_by_query does, which is a module of its own.
        """
        deleted = 0
        while True:
            body = {"query": all_of(parts), "size": _DELETED_AT_ONCE, "sort": ["_doc"], "_source": False}
            try:
                self._connection.call("POST", f"/{month.index}/_refresh", seconds=BULK_SECONDS)
                answer = self._connection.call("POST", f"/{month.index}/_search", body, track_total_hits="false")
            except NotFound:  # another process dropped it meanwhile
                return deleted
            ids = [hit["_id"] for hit in answer["hits"]["hits"]]
            if not ids:
                return deleted
            deleted += bulk.delete(self._connection, month.index, ids)
            time.sleep(_PAUSE)

    def oldest(self, month: Month, share: float) -> int | None:
        """When about the newest of the oldest `share` (0 to 1) of its records was made; None without records."""
        wanted = {"field": "created", "percents": [min(share, 1.0) * 100], "keyed": False}
        answer = self._connection.call(
            "POST",
            f"/{month.index}/_search",
            {"size": 0, "aggs": {"at": {"percentiles": wanted}, "first": {"min": {"field": "created"}}}},
        )
        bound = answer["aggregations"]["at"]["values"][0]["value"]
        first = answer["aggregations"]["first"]["value"]
        return None if bound is None or first is None else int(max(bound, first))
