"""Messages that may have killed the process that worked on them (design.md §4 "Poison").

Whatever was being executed when a process died is suspected, and run again before everything else,
one message at a time, so that one which kills its process takes no other with it. A death counts as
a message's own only if nothing else was being executed at that moment; the third makes the message
unprocessed.

A slow step must not hold up the rest for long: it is alone for a second only, then the others begin.
Each further time that a message is found in a dead process its time alone is twice as long, so one
that kills slowly is caught in the end as well.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from engine.ports import Bus, Claims, Clock, Delivery, Doc, Documents, Query, Settlement, Where, Write

log = logging.getLogger(__name__)

COLLECTION = "suspects"
DEATHS = 3
REASON = f"killed its process {DEATHS} times"
CODE = "KILLED_PROCESS"

ALONE_SECONDS = 1.0
ALONE_LONGEST = 300.0
KEPT_MS = 86_400_000
MOST = 10_000


@dataclass(frozen=True, slots=True)
class Suspect:
    """`found`: times it was being executed in a process that died; `deaths`: those when it was the only one."""

    delivery: Delivery
    found: int
    deaths: int

    @property
    def guilty(self) -> bool:
        return self.deaths >= DEATHS

    @property
    def seconds_alone(self) -> float:
        return float(min(ALONE_SECONDS * 2 ** (self.found - 1), ALONE_LONGEST))


class Suspects:
    def __init__(self, documents: Documents, bus: Bus, clock: Clock, claims: Claims) -> None:
        self._documents = documents
        self._bus = bus
        self._clock = clock
        self._claims = claims

    def find(self) -> list[Suspect]:
        """Call once, before the bus is consumed: the suspects are taken off it, least suspected first."""
        self._note(self._claims.left())
        self._claims.forget()
        docs = {doc["_id"]: doc for doc in self._documents.find(COLLECTION, Query(limit=MOST))}
        if not docs:
            return []
        found = [_suspect(delivery, docs[delivery.message.id]) for delivery in self._bus.take(list(docs))]
        if found:
            log.warning(
                "messages that ran when the process died go first: %d", len(found), extra={"action": "suspects"}
            )
        return sorted(found, key=lambda suspect: suspect.deaths)

    def _note(self, left: list[str]) -> None:
        """Durable before the claims are forgotten. Those not seen for a day are done and go."""
        now = self._clock.now()
        self._documents.delete_many(COLLECTION, (Where("created", "lt", now - KEPT_MS),))
        if left:
            writes = [Write(COLLECTION, key, self._noted(key, now, alone=len(left) == 1)) for key in left]
            self._bus.settle(None, Settlement(writes=writes)).result()

    def _noted(self, id: str, now: int, *, alone: bool) -> Doc:
        before = self._documents.get(COLLECTION, id) or {"found": 0, "deaths": 0}
        return {"_id": id, "found": before["found"] + 1, "deaths": before["deaths"] + alone, "created": now}


def _suspect(delivery: Delivery, doc: Doc) -> Suspect:
    return Suspect(delivery, doc["found"], doc["deaths"])
