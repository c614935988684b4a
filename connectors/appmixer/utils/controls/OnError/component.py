"""OnError: one message for each error in this flow's log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from connectors.appmixer.utils._kit.dates import iso
from engine.sdk import Component, Context

PAGE = 100
MOST = 1000
"""Errors emitted per tick when neither the step nor the service's configuration says otherwise."""
FIELDS = ("gridTimestamp", "msg", "err", "componentId", "componentType", "inputMessages")


class OnError(Component):
    """State: `since`, when this step first started (older errors are not its business), and
    `position`: {lastLogId, gridTimestamp, after, from, tick}.

    `after` is the sort key of the last record seen and `from` the one before tick `tick`, so that
    a tick that is repeated because its output was lost reads the same records again.
    """

    effects = "state"

    def start(self, context: Context) -> None:
        if context.state.get("since") is None:
            context.state.set("since", iso(context.now()))

    def tick(self, context: Context) -> None:
        with context.lock(context.component_id, max_retry_count=0):
            position = context.state.get("position") or {}
            repeated = position.get("tick") == context.message_id
            start = position.get("from" if repeated else "after") or []
            last = None
            labels = context.labels()
            query = f"severity:error AND gridTimestamp:[{context.state.get('since', '*')} TO *]"
            for record in _errors(context, query, tuple(start), _most(context)):
                context.send(_output(record, labels, context.flow_name), "out")
                last = record
            if last is not None:
                seen = {"lastLogId": last["_id"], "gridTimestamp": last.get("gridTimestamp"), "after": last["sort"]}
                context.state.set("position", {**seen, "from": start, "tick": context.message_id})


def _most(context: Context) -> int:
    allowed = int(context.config.get("limit") or MOST)
    return min(int(context.properties.get("limit") or allowed), allowed)


def _errors(context: Context, query: str, after: tuple[Any, ...], most: int) -> Iterator[dict[str, Any]]:
    while most > 0:
        page = context.run_log(query=query, size=min(PAGE, most), search_after=after)
        yield from page
        most -= len(page)
        if len(page) < PAGE:
            return
        after = tuple(page[-1]["sort"])


def _output(record: dict[str, Any], labels: Any, flow_name: str) -> dict[str, Any]:
    label = labels.get(record.get("componentId")) or (record.get("componentType") or "").rpartition(".")[2]
    return {**{name: record.get(name) for name in FIELDS}, "componentLabel": label, "flowName": flow_name}
