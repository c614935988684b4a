"""The ledger of external calls (design.md §4.5): what was begun, and what came of it.

Before the world outside is called an entry says so; after the call the entry holds the result,
durable before anything that follows. A duplicate of the message finds the result and repeats
nothing; one that finds a call begun by a process that died calls again, and is counted.
"""

from __future__ import annotations

import uuid

from prometheus_client import Counter

from engine.errors import Conflict
from engine.model.message import Message
from engine.ports import Clock, Doc, Documents, Where, Write
from engine.services.outcome import CallResult
from engine.services.payloads import Payloads

COLLECTION = "ledger"


class Ledger:
    """`lease_ms` is longer than any call may take. `once` tells that a settled message never comes again,
    so its entry can go with the settlement. `enabled=False` is for tests that show what it is good for.
    Large outputs stand in entries by name.
    """

    def __init__(
        self,
        documents: Documents,
        payloads: Payloads,
        clock: Clock,
        repeats: Counter,
        *,
        lease_ms: int,
        once: bool,
        enabled: bool = True,
    ) -> None:
        self._documents = documents
        self._payloads = payloads
        self._clock = clock
        self._repeats = repeats
        self._lease_ms = lease_ms
        self._once = once
        self._enabled = enabled
        self.process = uuid.uuid4().hex
        """Names this process in entries: one begun by another name, its lease over, died."""

    def begin(self, message: Message) -> CallResult | None:
        """Claim the call of a message; durable when this returns. None: call. Else the result it already had.

        Raises Conflict (to be tried again later) while another process is calling.
        """
        if not self._enabled:
            return None
        entry = self._entry(message, "started")
        if self._documents.insert(COLLECTION, entry):
            return None
        found = self._documents.get(COLLECTION, _key(message))
        if found is None:
            return self.begin(message)
        if found["state"] == "done":
            return self._result(found["result"])
        if not self._once and found["by"] != self.process and found["lease"] > self._clock.now():
            raise Conflict(f"message {message.id} is being worked on by another process")
        expected = [Where("state", "eq", "started"), Where("by", "eq", found["by"])]
        again = {"by": self.process, "lease": entry["lease"], "tries": found["tries"] + 1}
        if not self._documents.update(COLLECTION, _key(message), again, expected):
            return self.begin(message)
        self._repeats.inc()
        return None

    def done(self, message: Message, result: CallResult) -> None:
        """Record what the call came to; durable when this returns."""
        if not self._enabled:
            return
        data = result.to_json()
        for n, emission in enumerate(result.emissions):
            for write in self._payloads.keep(emission, message.flow_id):
                self._documents.put(write.collection, write.doc or {})
                data["emissions"][n] = [emission.port, None, emission.scope, write.id]
        self._documents.put(COLLECTION, {**self._entry(message, "done"), "result": data})

    def _result(self, data: Doc) -> CallResult:
        """Raises NotFound when a large output is no longer stored."""
        emissions = [
            [port, self._payloads.load(name[0]) if name else content, scope]
            for port, content, scope, *name in data["emissions"]
        ]
        return CallResult.from_json({**data, "emissions": emissions})

    def _entry(self, message: Message, state: str) -> Doc:
        now = self._clock.now()
        return {
            "_id": _key(message),
            "state": state,
            "by": self.process,
            "lease": now + self._lease_ms,
            "tries": 1,
            "created": now,
            "flowId": message.flow_id,
            "componentId": message.component_id,
        }

    def settled(self, message: Message) -> list[Write]:
        """What the message's settlement does to its entry: it goes, or stays for late duplicates."""
        return [Write(COLLECTION, _key(message), None)] if self._enabled and self._once else []


def _key(message: Message) -> str:
    return f"{message.id}.{message.attempt}"
