"""Calls that are repetitions of an earlier one: for a day they get the answer of the first.

The answer is a document of the settlement that shows the execution's effects, so either both are
durable or the call can simply be made again. A key is known as long as its document has not expired:

    {_id, flowId, correlationId, created, expires, open: 1}                 the answer is yet to come
    {_id, flowId, correlationId, created, expires, reply: {status, body, headers}}
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson

from engine.errors import Unavailable
from engine.model.message import Message
from engine.ports import NOTICES_LOST, Cache, Clock, Doc, Documents, Query, Where, Write
from engine.services.outcome import Outcome, Reply, not_json

COLLECTION = "webhook_keys"
KEPT_MS = 24 * 3_600_000


def key_of(flow_id: str, component_id: str, correlation_id: str | None, value: Any) -> str | None:
    """The id of the document; None when `value` tells nothing. Same values of different places do not meet."""
    if not isinstance(value, str | int | float) or isinstance(value, bool) or value == "":
        return None
    text = "\x1f".join((flow_id, component_id, correlation_id or "", str(value)))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class First:
    """The call that came first. `reply` is None while its answer is yet to come."""

    key: str
    flow_id: str
    correlation_id: str
    reply: Reply | None


class WebhookKeys:
    def __init__(self, documents: Documents, cache: Cache, clock: Clock) -> None:
        self._documents = documents
        self._cache = cache
        self._clock = clock
        cache.subscribe(NOTICES_LOST, self.recall)

    def recall(self, _text: str = "") -> None:
        """After a start, and when the Cache may have come back empty: which executions under way owe an answer."""
        for doc in self._documents.find(COLLECTION, Query(where=(Where("open", "eq", 1),))):
            self._owes(doc["correlationId"], doc["_id"], doc["expires"] - self._clock.now())

    def _owes(self, correlation_id: str, key: str, milliseconds: int) -> None:
        try:
            if milliseconds > 0:
                self._cache.set(_owing(correlation_id), key, milliseconds / 1000)
        except Unavailable:
            pass  # `recall` follows

    def first(self, key: str) -> First | None:
        """The first call with this key, if there was one within the day."""
        doc = self._documents.get(COLLECTION, key)
        if doc is None or doc["expires"] <= self._clock.now():
            return None
        given = doc.get("reply")
        reply = Reply(given["status"], given["body"], given["headers"]) if given else None
        return First(key, doc["flowId"], doc["correlationId"], reply)

    def write(self, key: str, message: Message, reply: Reply | None) -> Write:
        """For the settlement that makes the first call durable; without a reply, `keep` adds it later."""
        doc: Doc = {
            "_id": key,
            "flowId": message.flow_id,
            "correlationId": message.correlation_id,
            "created": message.created,
            "expires": message.created + KEPT_MS,
        }
        if reply is None:
            self._owes(message.correlation_id, key, KEPT_MS)
            return Write(COLLECTION, key, {**doc, "open": 1})
        return Write(COLLECTION, key, {**doc, "reply": _storable(reply)})

    def keep(self, message: Message, outcome: Outcome) -> None:
        """Add the answer to what a delivery settles, if its execution owes one to a key."""
        if outcome.reply is None or (key := self._owed_by(message.correlation_id)) is None:
            return
        doc = self._documents.get(COLLECTION, key)
        if doc is not None and doc.get("open") and doc["correlationId"] == message.correlation_id:
            doc.pop("open")
            outcome.writes.append(Write(COLLECTION, key, {**doc, "reply": _storable(outcome.reply)}))

    def _owed_by(self, correlation_id: str) -> str | None:
        try:
            key: str | None = self._cache.get(_owing(correlation_id))
        except Unavailable:
            where = (Where("open", "eq", 1), Where("correlationId", "eq", correlation_id))
            found = self._documents.find(COLLECTION, Query(where=where, limit=1))
            return found[0]["_id"] if found else None
        return key

    def close(self, key: str, reply: Reply) -> None:
        """An execution has ended without an answer of its own: this is the one for all with the key."""
        changes = {"reply": _storable(reply), "open": None}
        self._documents.update(COLLECTION, key, changes, (Where("open", "eq", 1),))


def _owing(correlation_id: str) -> str:
    return f"keyed:{correlation_id}"


def _storable(reply: Reply) -> Doc:
    """What is not JSON never was an answer: the first call got a 500 for it too."""
    try:
        stored: Doc = orjson.loads(orjson.dumps(reply.to_json(), option=orjson.OPT_NON_STR_KEYS))
    except TypeError as error:
        return not_json(error).to_json()
    return stored
