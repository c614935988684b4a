"""Messages that could not be delivered, kept with everything needed to try again (rest-api.md §7).

A record belongs to the owner of its flow; what belongs to somebody else does not exist here.
Its `_id` is derived from the message's id (`engine.services.records`). The stored message is complete, as a
retry needs it; what is shown of it is masked.
"""

from __future__ import annotations

import base64
from collections.abc import Container, Mapping
from dataclasses import replace
from typing import Any

from engine.errors import BadRequest, Conflict, NotFound
from engine.model.message import Message, decode, derived_id
from engine.model.times import iso
from engine.ports import Bus, Clock, Doc, Documents, LogIndex, Query, Where
from engine.services.payloads import Payloads
from engine.services.plans import Plans, RunningFlow
from engine.services.publishing import publish
from engine.services.retry_scope import completed_scope
from engine.services.secrecy import Secrecy


class Unprocessed:
    def __init__(
        self,
        *,
        documents: Documents,
        bus: Bus,
        clock: Clock,
        plans: Plans,
        log_index: LogIndex,
        payloads: Payloads,
        cancelled: Container[tuple[str, str]],
        secrecy: Secrecy,
    ) -> None:
        self._documents = documents
        self._cancelled = cancelled
        self._bus = bus
        self._clock = clock
        self._plans = plans
        self._log_index = log_index
        self._payloads = payloads
        self._secrecy = secrecy

    def find(
        self, user_id: str, query: Query, *, flow_id: str | None = None, correlation_id: str | None = None
    ) -> list[Doc]:
        """→ [{messageId, flowId, componentId, messages, created, err}], newest first unless `query` says otherwise."""
        where = [*query.where, Where("userId", "eq", user_id)]
        if flow_id:
            where.append(Where("flowId", "eq", flow_id))
        if correlation_id:
            where.append(Where("correlationId", "eq", correlation_id))
        query = replace(query, where=tuple(where), sort=query.sort or (("created", -1),), include=(), exclude=())
        docs = self._documents.find("unprocessed", query)
        flows = {flow_id: self._documents.get("flows", flow_id) for flow_id in {doc["flowId"] for doc in docs}}
        return [self._json(doc, flows[doc["flowId"]]) for doc in docs]

    def info(self, user_id: str, message_id: str) -> Doc:
        doc = self._owned(user_id, message_id)
        return self._json(doc, self._documents.get("flows", doc["flowId"]))

    def delete(self, user_id: str, message_id: str) -> None:
        self._documents.delete("unprocessed", self._owned(user_id, message_id)["_id"])

    def retry(self, user_id: str, message_id: str) -> None:
        """Send the message again, into the newest revision and the present run of its flow.

        It is on the bus before the record goes, so a crash in between leaves the record, and both
        copies of a call made twice have the same id. Raises NotFound (message, flow), Conflict
        while the flow is not running or when the execution was cancelled, BadRequest when nothing is kept
        to send again, its step is gone, or something the step reads is kept nowhere.
        """
        record = self._owned(user_id, message_id)
        message = self._message(record)
        flow = self._documents.get("flows", record["flowId"])
        if flow is None:
            raise NotFound(f"flow {record['flowId']} is gone; the message can only be deleted")
        running = self._plans.running(record["flowId"])
        if running is None:
            raise Conflict("the flow is not running: start it, then try the message again")
        if (message.flow_id, message.correlation_id) in self._cancelled:
            where = f"/executions/{message.correlation_id}/replay"
            raise Conflict(f"its execution was cancelled: no step of it begins. Play it again instead: POST {where}")
        publish(self._bus, self._clock, [self._again(message, running)], unprocessed=-1)
        self._documents.delete("unprocessed", record["_id"])

    def _again(self, message: Message, running: RunningFlow) -> Message:
        step = running.plan.steps.get(message.component_id)
        if step is None:
            raise BadRequest(f"the flow has no step {message.component_id} any more; the message can only be deleted")
        again = replace(
            message,
            id=derived_id(message.id, "by hand"),
            run=running.run,
            revision=running.revision,
            scope=completed_scope(message, step, running, self._plans, self._log_index),
            attempt=0,
            created=self._clock.now(),
        )
        return self._payloads.detach(again)

    def _message(self, record: Mapping[str, Any]) -> Message:
        if not record.get("message"):
            raise BadRequest("only the number of these messages was kept, not the messages; they cannot be tried again")
        try:
            return self._payloads.attach(decode(base64.b64decode(record["message"])))
        except NotFound as error:
            raise BadRequest(f"{error.message}; the message can only be deleted") from error

    def _json(self, doc: Doc, flow: Doc | None) -> Doc:
        return {
            "messageId": doc["messageId"],
            "flowId": doc["flowId"],
            "componentId": doc.get("componentId"),
            "messages": self._secrecy.messages(flow, doc.get("messages") or {}),
            "created": iso(doc["created"]),
            "err": doc.get("err") or "",
        }

    def _owned(self, user_id: str, message_id: str) -> Doc:
        doc = self._documents.get("unprocessed", derived_id(message_id, "unprocessed"))
        if doc is None or doc.get("userId") != user_id:
            raise NotFound(f"there is no unprocessed message {message_id!r}; see GET /unprocessed-messages")
        return doc
