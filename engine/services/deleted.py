"""Flows deleted lately: what of their log still waits to be indexed is dropped.

A delete removes what is indexed. Records that are queued at that moment, and those of steps that end later, would
come after it and stay until they are too old; whoever moves records into the log asks here first.
"""

from __future__ import annotations

from engine.ports import NOTICES_LOST, Cache, Clock, Doc, Documents, Query, Where

COLLECTION = "deleted_flows"
CHANNEL = "flow-deleted"
"""Cache channel: the id of a flow that was deleted, or made again."""

KEPT_MS = 7 * 86_400_000
"""Longer than any record waits."""


def mark(documents: Documents, cache: Cache, now: int, flow_id: str) -> None:
    """To be called before what is indexed is deleted."""
    documents.put(COLLECTION, {"_id": flow_id, "created": now})
    cache.publish(CHANNEL, flow_id)


def unmark(documents: Documents, cache: Cache, flow_id: str) -> None:
    """A new flow has this id."""
    if documents.delete(COLLECTION, flow_id):
        cache.publish(CHANNEL, flow_id)


class Deleted:
    def __init__(self, documents: Documents, cache: Cache, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock
        self._ids: frozenset[str] = frozenset()
        cache.subscribe(CHANNEL, self.load)
        cache.subscribe(NOTICES_LOST, self.load)
        self.load()

    def load(self, _text: str = "") -> None:
        """Forget those of long ago; they are few."""
        self._documents.delete_many(COLLECTION, (Where("created", "lt", self._clock.now() - KEPT_MS),))
        self._ids = frozenset(doc["_id"] for doc in self._documents.find(COLLECTION, Query()))

    def without(self, records: list[Doc]) -> list[Doc]:
        """The records of other flows."""
        gone = self._ids
        return [record for record in records if record["flowId"] not in gone] if gone else records

    def among(self, records: list[Doc]) -> list[str]:
        """Ids of deleted flows that some of the records are of."""
        gone = self._ids
        return sorted({record["flowId"] for record in records} & gone) if gone else []
