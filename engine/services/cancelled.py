"""Executions somebody cancelled, as workers see them: one look in a set for each message."""

from __future__ import annotations

from engine.ports import NOTICES_LOST, Cache, Clock, Doc, Documents, Query, Where

COLLECTION = "cancelled"
CHANNEL = "execution-cancelled"
"""Cache channel: "<flowId> <correlationId>"."""

KEPT_MS = 100 * 86_400_000
"""As long as something of an execution may wait (engine.md §5 "Continuity scope")."""

Key = tuple[str, str]


class Cancelled:
    """`in` takes (flow id, correlation id): a caller of a webhook may name the correlation id of another flow."""

    def __init__(self, documents: Documents, cache: Cache, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock
        self._keys: set[Key] = set()
        cache.subscribe(CHANNEL, self._announced)
        cache.subscribe(NOTICES_LOST, self.load)
        self.load()

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def load(self, _text: str = "") -> None:
        """Forget those of flows that stopped or are gone; called now and then."""
        self._documents.delete_many(COLLECTION, (Where("created", "lt", self._clock.now() - KEPT_MS),))
        found = self._documents.find(COLLECTION, Query(include=("flowId", "correlationId")))
        self._keys = {(doc["flowId"], doc["correlationId"]) for doc in found}

    def _announced(self, text: str) -> None:
        flow_id, _, correlation_id = text.partition(" ")
        self._keys = {*self._keys, (flow_id, correlation_id)}


def marked(flow_id: str, correlation_id: str, by: str, now: int) -> Doc:
    """The document that makes it last."""
    key = f"{flow_id}:{correlation_id}"
    return {"_id": key, "flowId": flow_id, "correlationId": correlation_id, "by": by, "created": now}
