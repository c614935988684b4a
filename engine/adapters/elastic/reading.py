"""Pages of the run log out of the search server: orders, totals, histograms."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from engine.adapters.elastic.connection import BUSY, Backoff, Connection
from engine.adapters.elastic.dialect import Query, all_of, compile_query
from engine.adapters.elastic.document import hit_of
from engine.adapters.elastic.mapping import SORTED
from engine.adapters.runlog import fields
from engine.adapters.runlog.fields import COUNTED, HISTOGRAM_SECONDS, WINDOW
from engine.errors import BadRequest, TimedOut, Unavailable
from engine.model.log import LogPage, LogQuery
from engine.ports import Doc

log = logging.getLogger(__name__)

_EVERYWHERE: dict[str, Any] = {
    "ignore_unavailable": "true",
    "allow_no_indices": "true",
    "allow_partial_search_results": "false",
}
BUSY_SECONDS = 6.0
"""A search waits so long for an index that is just being made, or for a server that has too much to do."""

_LAST_TEXT = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class Key:
    """One sort field: `column` is the server's, "" where it has none and the sorting is done here."""

    name: str
    column: str
    descending: bool

    @property
    def is_time(self) -> bool:
        return self.column == "created"

    def clause(self) -> Doc:
        order: Doc = {"order": "desc" if self.descending else "asc"}
        if not self.is_time:
            order["missing"] = "_last" if self.descending else "_first"
        return {self.column: order}


class Reader:
    """Searches all months whose indexes have the prefix."""

    def __init__(self, connection: Connection, prefix: str) -> None:
        self._connection = connection
        self.indexes = f"{prefix}-*"

    def ask(self, body: Doc, **more: Any) -> Doc:
        """Raises BadRequest, TimedOut, Unavailable."""
        backoff = Backoff(0.05, 0.5, BUSY_SECONDS)
        while True:
            try:
                answer: Doc = self._connection.call("POST", f"/{self.indexes}/_search", body, **_EVERYWHERE, **more)
            except Unavailable as error:
                if error.code != BUSY or backoff.over:
                    raise
                backoff.wait()
            else:
                return answer

    def page(self, query: LogQuery) -> LogPage:
        fields.check_window(query)
        keys = sort_keys(query)
        condition = scoped(compile_query(query.query), query)
        after = _after(keys, query)
        if query.flow_ids is not None and not query.flow_ids:
            return LogPage([], [], 0)
        if not all(key.column for key in keys):
            return self._sorted_here(query, keys, condition, after)
        body: Doc = {
            "query": condition,
            "sort": [key.clause() for key in keys],
            "size": query.size,
            "from": query.offset,
            "track_total_hits": COUNTED,
            "_source": _source(query),
        }
        if after:
            body["search_after"] = [None if value == "" else value for value in after]
        if query.buckets:
            body["aggs"] = {name: {name: {"field": "created"}} for name in ("min", "max")}
        answer = self.ask(body)
        hits = [_hit(hit, hit["sort"], query) for hit in answer["hits"]["hits"]]
        return self._with_totals(query, condition, answer, hits)

    def get(self, id_query: Query) -> Doc | None:
        found = self.ask(
            {"query": id_query, "size": 1, "sort": [{"created": "desc"}], "_source": {"excludes": "search"}}
        )
        for hit in found["hits"]["hits"]:
            return hit_of(hit["_source"], hit["_index"])
        return None

    # -- totals

    def _with_totals(self, query: LogQuery, condition: Query, answer: Doc, hits: list[Doc]) -> LogPage:
        total = answer["hits"]["total"]["value"]
        buckets: list[Doc] = []
        if query.buckets and total:
            first, last = (int(answer["aggregations"][name]["value"]) for name in ("min", "max"))
            try:
                buckets = self._histogram(condition, first, last)
                total = sum(bucket["doc_count"] for bucket in buckets)
            except TimedOut:
                log.info("histogram left out", extra={"action": "log_histogram_late", "query": query.query})
        return LogPage(hits, buckets, total)

    def _histogram(self, condition: Query, first: int, last: int) -> list[Doc]:
        """Counts in steps of equal length from the first match to the last, empty steps included."""
        interval = fields.interval_for(last - first)
        steps = {"field": "created", "fixed_interval": f"{interval}ms", "min_doc_count": 1}
        answer = self.ask(
            {"query": condition, "size": 0, "track_total_hits": False, "aggs": {"steps": {"date_histogram": steps}}},
            seconds=HISTOGRAM_SECONDS,
        )
        counts = {step["key"] // interval: step["doc_count"] for step in answer["aggregations"]["steps"]["buckets"]}
        return fields.buckets_of(counts, interval) if counts else []

    # -- orders the server cannot do

    def _sorted_here(self, query: LogQuery, keys: list[Key], condition: Query, after: tuple[Any, ...]) -> LogPage:
        """By fields whose values the server has no column for: possible as long as not very many records match."""
        wanted = sorted({name for key in keys for name in (key.name, f"more.{key.name}")})
        body: Doc = {
            "query": condition,
            "size": WINDOW,
            "track_total_hits": WINDOW + 1,
            "_source": ["id", "created", *wanted],
        }
        if query.buckets:
            body["aggs"] = {name: {name: {"field": "created"}} for name in ("min", "max")}
        answer = self.ask(body)
        if answer["hits"]["total"]["value"] > WINDOW:
            names = ", ".join(key.name for key in keys if not key.column)
            raise BadRequest(f"sort: more than {WINDOW} records match, too many to sort by {names}; narrow the search")
        rows = [([_value(key, hit["_source"]) for key in keys], hit["_id"]) for hit in answer["hits"]["hits"]]
        for position in reversed(range(len(keys))):  # stable: the last key first
            rows.sort(key=lambda row: row[0][position], reverse=keys[position].descending)
        if after:
            rows = [row for row in rows if _beyond(keys, row[0], after)]
        page = rows[query.offset : query.offset + query.size]
        return self._with_totals(query, condition, answer, self._whole(page, query))

    def _whole(self, rows: Sequence[tuple[list[Any], str]], query: LogQuery) -> list[Doc]:
        if not rows:
            return []
        ids: Query = {"ids": {"values": [id_ for _, id_ in rows]}}
        answer = self.ask({"query": ids, "size": WINDOW, "_source": _source(query)})
        found = {hit["_id"]: hit for hit in answer["hits"]["hits"]}
        return [_hit(found[id_], values, query) for values, id_ in rows if id_ in found]


# -- conditions


def scoped(condition: Query, query: LogQuery) -> Query:
    parts = [condition]
    if query.flow_ids is not None:
        parts.append({"terms": {"flowId": list(query.flow_ids)}})
    if query.port_types:
        parts.append({"terms": {"portType": list(query.port_types)}})
    return all_of(parts)


def _source(query: LogQuery) -> Doc:
    """What to read so that `includes` (names and patterns, none for all) can be told: contents are long."""
    if not query.includes or any(char in name for name in query.includes for char in "?["):
        return {"excludes": ["search"]}
    return {"includes": ["id", "created", *query.includes, *(f"more.{name}" for name in query.includes)]}


def _hit(hit: Doc, sort: Sequence[Any], query: LogQuery) -> Doc:
    doc = hit_of(hit["_source"], hit["_index"])
    doc["sort"] = ["" if value is None else value for value in sort]
    return fields.trim(doc, query)


# -- order


def sort_keys(query: LogQuery) -> list[Key]:
    """The sort fields and, last, the record's id, so that no two records are equal."""
    keys = [_key(name, direction < 0) for name, direction in query.sort]
    fields.check_sorts(len(keys))
    keys = keys or [_key("created", True)]
    if all(key.column != "id" for key in keys):
        keys.append(_key("id", keys[-1].descending))
    return keys


def _key(name: str, descending: bool) -> Key:
    if fields.is_time(name):
        return Key("created", "created", descending)
    column = fields.known(name)
    if column is None:
        return Key(".".join(fields.path_of(name)), "", descending)
    return Key(column, column if column in SORTED or column == "id" else "", descending)


def _after(keys: list[Key], query: LogQuery) -> tuple[Any, ...]:
    """A value for each key. Without the id: beyond all records that are equal but for it."""
    if not query.search_after:
        return ()
    fields.check_after(query.search_after, len(query.sort), len(keys))
    values = [fields.after_value(key.name, value) for key, value in zip(keys, query.search_after, strict=False)]
    if len(values) < len(keys):
        values.append("" if keys[-1].descending else _LAST_TEXT)
    return tuple(values)


def _beyond(keys: list[Key], values: Sequence[Any], after: Sequence[Any]) -> bool:
    for key, value, limit in zip(keys, values, after, strict=True):
        if value != limit:
            return bool(value < limit) if key.descending else bool(value > limit)
    return False


def _value(key: Key, source: Doc) -> Any:
    """As the embedded run log sorts: times as numbers, everything else as text, what is missing as ""."""
    if key.is_time:
        return source["created"]
    value: Any = source.get(key.name)
    if value is None:
        value = source.get("more")
        for part in key.name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, str | int | float):
        return str(value)
    return "" if value is None else orjson.dumps(value).decode()
