"""The end of an execution before its time: somebody cancelled it, or it is over its limit (design.md §4 "Bounds").

No further step of it begins once it is marked; what runs is finished and recorded. Messages that wait become
unprocessed ones, its timers go.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.model.execution import ExecutionRow
from engine.model.message import Message, derived_id
from engine.ports import Bus, Cache, Clock, Documents, Query, Settlement, Where, Write
from engine.services import accounting
from engine.services.cancelled import CHANNEL, COLLECTION, marked
from engine.services.failing import CANCELLED, keeps_more
from engine.services.records import unprocessed
from engine.services.timers import message_of

BATCH = 500


@dataclass(frozen=True, slots=True)
class Cancelling:
    documents: Documents
    bus: Bus
    cache: Cache
    clock: Clock

    def __call__(self, of: ExecutionRow | Message, *, by: str, reason: str, text: str, severity: str = "info") -> int:
        """End the execution that a row or one of its messages tells. Repeated, it changes nothing. → when (epoch ms).

        `reason` is shown with the execution, `text` in the run log.
        """
        flow_id, correlation_id = of.flow_id, of.correlation_id
        now = self.clock.now()
        mark = marked(flow_id, correlation_id, by, now)
        line = {
            "id": derived_id(correlation_id, "cancelled", flow_id, of.run), "created": now, "severity": severity,
            "type": "flow", "flowId": flow_id, "correlationId": correlation_id, "msg": text,
        }  # fmt: skip
        ends = accounting.cancelled(flow_id, correlation_id, of.run, of.revision, now, reason)
        # the reason first: once workers know, they discard messages with a reason that tells less
        self.bus.settle(None, Settlement(logs=[line, ends], writes=[Write(COLLECTION, mark["_id"], mark)])).result()
        self.cache.publish(CHANNEL, f"{flow_id} {correlation_id}")
        self._drop_waits(flow_id, correlation_id)
        return now

    def _drop_waits(self, flow_id: str, correlation_id: str) -> None:
        theirs = (Where("correlationId", "eq", correlation_id), Where("flowId", "eq", flow_id))
        flow = self.documents.get("flows", flow_id)
        while found := self.documents.find("timers", Query(where=theirs, limit=BATCH)):
            now = self.clock.now()
            settlement = Settlement(writes=[Write("timers", doc["_id"], None) for doc in found])
            for doc in found:
                message = message_of(doc)
                # one that waits for another try, not for time to pass
                if flow is not None and doc["kind"] == "retry" and keeps_more(self.cache, message):
                    settlement.writes.append(unprocessed(message, flow["userId"], now, CANCELLED, message.content))
            self.bus.settle(None, settlement).result()
        self.documents.delete_many("continuity", theirs)
