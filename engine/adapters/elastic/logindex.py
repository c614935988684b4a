"""The run log on Elasticsearch or OpenSearch: one index a month (design.md §3, rest-api.md §7).

Executions are not kept here but handed to an `ExecutionSums`: the search server has no transactions, shows
what was written only a moment later, and writes a document anew for each change of it, while an execution
changes with every delivery and must count each once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from engine.adapters.elastic import bulk
from engine.adapters.elastic.connection import Connection
from engine.adapters.elastic.dialect import Query, all_of, compile_query
from engine.adapters.elastic.document import document_id
from engine.adapters.elastic.months import Month, Months
from engine.adapters.elastic.reading import Reader
from engine.adapters.runlog.fields import WINDOW, by_month
from engine.model.execution import ACCOUNTING, ExecutionQuery, ExecutionRow
from engine.model.log import LogPage, LogQuery
from engine.ports import Doc

Pair = tuple[str, str]
"""Correlation id and flow id: an execution."""

Having = Callable[[Sequence[Pair]], set[Pair]]
"""Which of these executions have a record that the text of a query finds."""


class ExecutionSums(Protocol):
    """Executions as the accounting records tell them, each record counted once (ports.LogIndex).

    Where a query has a text, `among` are all executions that it finds, or if those are too many, `having` tells.
    """

    def append(self, deliveries: Sequence[Doc], stops: Sequence[Doc]) -> None: ...
    def find(
        self, query: ExecutionQuery, among: Collection[Pair] | None = None, having: Having | None = None
    ) -> list[ExecutionRow]: ...
    def count(
        self, query: ExecutionQuery, among: Collection[Pair] | None = None, having: Having | None = None
    ) -> int: ...
    def waiting(self, since: int, limit: int) -> list[ExecutionRow]: ...
    def conclude(self, rows: Sequence[ExecutionRow]) -> None: ...
    def delete(self, before_ms: int | None, flow_ids: Sequence[str]) -> None: ...


class ElasticLogIndex:
    """`ports.LogIndex`. Any number of processes may append.

    What one process appended, it finds at once; others find it when the server has refreshed, within a second.
    """

    def __init__(
        self,
        url: str,
        executions: ExecutionSums,
        *,
        prefix: str = "flow",
        opensearch: bool = False,
        shards: int = 1,
        api_key: str = "",
        ca_file: str = "",
    ) -> None:
        self._connection = Connection(url, opensearch=opensearch, api_key=api_key, ca_file=ca_file)
        self._months = Months(self._connection, prefix, shards)
        self._reader = Reader(self._connection, prefix)
        self._executions = executions
        self._unseen = True  # what another process wrote before

    def append(self, records: Sequence[Doc]) -> None:
        shown = [record for record in records if record.get("type") not in ACCOUNTING]
        for month, part in by_month(shown).items():
            bulk.store(self._connection, self._months.index(month), part)
            self._unseen = True
        if len(shown) < len(records):
            deliveries = [record for record in records if record.get("type") == "delivery"]
            stops = [record for record in records if record.get("type") == "flow-stopped"]
            self._executions.append(deliveries, stops)

    def search(self, query: LogQuery) -> LogPage:
        self._see()
        return self._reader.page(query)

    def get(self, id: str) -> Doc | None:
        self._see()
        return self._reader.get({"ids": {"values": [document_id(id)]}})

    def _see(self) -> None:
        if self._unseen:
            self._unseen = False
            self._months.refresh()

    # -- executions

    def executions(self, query: ExecutionQuery) -> list[ExecutionRow]:
        return self._executions.find(query, **self._with_text(query))

    def count_executions(self, query: ExecutionQuery) -> int:
        return self._executions.count(query, **self._with_text(query))

    def execution(self, correlation_id: str) -> list[ExecutionRow]:
        return self.executions(ExecutionQuery(correlation_ids=(correlation_id,), sort=(("started", 1),)))

    def waiting(self, since: int, limit: int) -> list[ExecutionRow]:
        return self._executions.waiting(since, limit)

    def conclude(self, rows: Sequence[ExecutionRow]) -> None:
        self._executions.conclude(rows)

    def _with_text(self, query: ExecutionQuery) -> dict[str, Any]:
        if not query.text:
            return {}
        self._see()
        parts = [compile_query(query.text)]
        if query.flow_ids is not None:
            parts.append({"terms": {"flowId": list(query.flow_ids)}})
        found = self._pairs(parts)
        return {"having": self._having(parts)} if found is None else {"among": found}

    def _pairs(self, parts: Sequence[Query]) -> set[Pair] | None:
        """The executions of all records that match; None if those are very many."""
        names = ["correlationId", "flowId"]
        answer = self._reader.ask(
            {"query": all_of(parts), "size": WINDOW, "track_total_hits": WINDOW + 1, "_source": names, "sort": ["_doc"]}
        )
        if answer["hits"]["total"]["value"] > WINDOW:
            return None
        sources = [hit["_source"] for hit in answer["hits"]["hits"]]
        return {(source["correlationId"], source["flowId"]) for source in sources if len(source) == len(names)}

    def _having(self, parts: Sequence[Query]) -> Having:
        def having(pairs: Sequence[Pair]) -> set[Pair]:
            theirs = {"terms": {"correlationId": [correlation_id for correlation_id, _ in pairs]}}
            flows = {"terms": {"field": "flowId", "size": 100}}
            groups = {"terms": {"field": "correlationId", "size": len(pairs)}, "aggs": {"flows": flows}}
            body = {"query": all_of([*parts, theirs]), "size": 0, "aggs": {"groups": groups}}
            buckets = self._reader.ask(body)["aggregations"]["groups"]["buckets"]
            found = {(group["key"], flow["key"]) for group in buckets for flow in group["flows"]["buckets"]}
            return found & set(pairs)

        return having

    # -- deleting

    def delete(self, *, before_ms: int | None = None, flow_ids: Sequence[str] = ()) -> int:
        """Delete what is older than `before_ms` and (if given) of `flow_ids`; the number of records."""
        if before_ms is None and not flow_ids:
            return 0
        self._see()
        parts: list[Query] = []
        if before_ms is not None:
            parts.append({"range": {"created": {"lt": before_ms}}})
        if flow_ids:
            parts.append({"terms": {"flowId": list(flow_ids)}})
        deleted = 0
        for month in self._months.all():
            start, end = month.span
            if before_ms is not None and start >= before_ms:
                break
            if before_ms is not None and end <= before_ms and not flow_ids:
                deleted += self._months.drop(month)
            else:
                deleted += self._months.delete(month, parts)
        self._unseen = deleted > 0
        self._executions.delete(before_ms, flow_ids)
        return deleted

    def shrink(self, limit: int) -> bool:
        """Drop the oldest month; when there is only one, so many of its records that a tenth of `limit` is free."""
        self._see()
        months = self._months.all()
        used = sum(month.used for month in months)
        if used <= limit:
            return False
        if len(months) > 1:
            self._months.drop(months[0])
            self._executions.delete(months[0].span[1], ())
            return True
        return self._thin(months[0], (used - 0.9 * limit) / used)

    def _thin(self, month: Month, share: float) -> bool:
        """Whether there was anything."""
        bound = self._months.oldest(month, share)
        if bound is None:
            return False
        deleted = self._months.delete(month, [{"range": {"created": {"lte": bound}}}])
        self._unseen = True
        self._executions.delete(bound, ())
        return deleted > 0

    def size(self) -> int:
        """Bytes on the search server's disks, copies included. Executions are not counted."""
        self._see()
        return sum(month.size for month in self._months.all())

    def close(self) -> None:
        self._connection.close()
