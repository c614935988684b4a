"""Durable timers: time-outs of components, retries, ticks (design.md §4.8).

A timer is a document with its due time and the message to publish then. Firing one publishes
the message and deletes the timer in one settlement, so it fires exactly once.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from engine.errors import BadRequest
from engine.model.message import Message, decode, derived_id, encode, new_id
from engine.ports import Bus, Clock, Doc, Documents, Query, Settlement, Where, Write
from engine.services.accounting import accounting
from engine.services.records import unprocessed

log = logging.getLogger(__name__)

BATCH = 500

STOPPED = {"message": "flow stopped", "code": "FLOW_STOPPED", "name": "FlowStopped"}
"""Why messages of a run that is over become unprocessed ones."""


def timer(id: str, kind: str, due: int, message: Message, **extra: Any) -> Write:
    """The write that sets a timer. `kind`: "timeout", "retry" or "tick" (with `every`, ms)."""
    doc = {
        "_id": id,
        "kind": kind,
        "due": due,
        "flowId": message.flow_id,
        "componentId": message.component_id,
        "correlationId": message.correlation_id,
        "run": message.run,
        "revision": message.revision,
        "message": base64.b64encode(encode(message)).decode(),
        **extra,
    }
    return Write("timers", id, doc)


def message_of(doc: Doc) -> Message:
    return decode(base64.b64decode(doc["message"]))


class Timers:
    """`fire_due` is called by the timers role; `wanted` tells whether a run is still on."""

    def __init__(self, documents: Documents, bus: Bus, clock: Clock, wanted: Callable[[str, int], bool]) -> None:
        self._documents = documents
        self._bus = bus
        self._clock = clock
        self._wanted = wanted

    def fire_due(self) -> int:
        """Publish what is due, at most BATCH of it. Returns how many fired."""
        now = self._clock.now()
        due = self._documents.find("timers", Query(where=(Where("due", "lte", now),), sort=(("due", 1),), limit=BATCH))
        settlement = Settlement()
        for doc in due:
            message = message_of(doc)
            if not self._still_wanted(message):
                self._drop(doc, message, now, settlement)
            elif doc["kind"] == "tick":
                self._tick(doc, message, now, settlement)
            else:
                settlement.publishes.append(message)
                if message.kind != "tick":
                    settlement.logs.append(accounting(message, f"t{doc['due']}", now, delta=1, waits=1))
                settlement.last.append(Write("timers", doc["_id"], None))
        if due:
            self._bus.settle(None, settlement).result()
        return len(due)

    def _still_wanted(self, message: Message) -> bool:
        try:
            return self._wanted(message.flow_id, message.run)
        except BadRequest:  # its flow cannot be compiled any more: the worker keeps the message, with the reason
            return True

    def _drop(self, doc: Doc, message: Message, now: int, settlement: Settlement) -> None:
        """Time-outs and ticks end with their run; a message that waited for another try is kept."""
        settlement.last.append(Write("timers", doc["_id"], None))
        flow = self._documents.get("flows", message.flow_id) if doc["kind"] == "retry" else None
        if flow is not None and message.kind != "tick":
            settlement.writes.append(unprocessed(message, flow["userId"], now, STOPPED, message.content))
            reason = STOPPED["message"]
            settlement.logs.append(accounting(message, "s", now, delta=0, unprocessed=1, cancelled=reason))

    def _tick(self, doc: Doc, message: Message, now: int, settlement: Settlement) -> None:
        """Ticks missed while nothing ran are skipped: the next one is the first due after now."""
        every = doc["every"]
        following = doc["due"] + every * ((now - doc["due"]) // every + 1)
        fired = replace(message, id=derived_id(doc["_id"], doc["due"]), correlation_id=new_id(now), created=now)
        settlement.publishes.append(fired)
        settlement.last.append(Write("timers", doc["_id"], {**doc, "due": following}))

    def next_due(self) -> int | None:
        """Epoch ms of the earliest timer."""
        first = self._documents.find("timers", Query(sort=(("due", 1),), include=("due",), limit=1))
        return first[0]["due"] if first else None

    def lag_ms(self) -> int:
        """How late the earliest timer is; 0 when none is due."""
        due = self.next_due()
        return max(0, self._clock.now() - due) if due is not None else 0

    def held(self, flow_id: str, limit: int) -> tuple[list[Message], int]:
        """Messages of a flow that wait for another try or for a slot: up to `limit`, and how many there are."""
        where = (Where("flowId", "eq", flow_id), Where("kind", "eq", "retry"))
        docs = self._documents.find("timers", Query(where=where, sort=(("due", 1),), limit=limit))
        return [message_of(doc) for doc in docs], self._documents.count("timers", Query(where=where))
