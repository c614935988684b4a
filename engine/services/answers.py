"""Where the answers to webhook calls lie until they are fetched: the Cache, or Documents while it is away.

The first answer of an execution wins. An answer is kept as `reply:<correlation id>` a little longer than anybody
waits, in Documents in the collection `replies` for an hour.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from threading import Lock

from engine.errors import BadRequest, HeadraceError, Unavailable
from engine.model.message import Message
from engine.ports import Cache, Doc, Documents, Query, Where
from engine.services.outcome import Reply, not_json

log = logging.getLogger(__name__)

COLLECTION = "replies"
KEPT_MS = 3_600_000

LATE = 0
"""Stands in the place of an answer once the call has been answered otherwise, or was told that there is none."""

APART = 0.1
"""Seconds between two looks in Documents, whoever asks for them."""


class Answers:
    """`kept` is in seconds. `documents` is for a Cache that may be away."""

    def __init__(self, cache: Cache, documents: Documents | None, kept: float) -> None:
        self._cache = cache
        self._documents = documents
        self._kept = kept
        self._lock = Lock()
        self._looked = 0.0

    def put(self, message: Message, reply: Reply) -> bool:
        """Whether it is the first of the message's execution; the caller announces it then."""
        try:
            return self._put(message, reply)
        except BadRequest as error:
            return self._put(message, not_json(error))

    def _put(self, message: Message, reply: Reply) -> bool:
        cid = message.correlation_id
        try:
            return self._cache.add(_key(cid), reply.to_json(), self._kept)
        except Unavailable as error:
            away = error
        try:
            if self._documents is not None:
                doc = {"_id": cid, "reply": reply.to_json(), "expires": message.created + KEPT_MS}
                return self._documents.insert(COLLECTION, doc)
        except Unavailable as error:
            away = error
        log.warning("an answer is lost: %s", away, extra={"action": "reply_lost", "correlationId": cid})
        return True

    def get(self, correlation_id: str) -> Reply | None:
        """Raises Unavailable."""
        found = self._cache.get(_key(correlation_id))
        return _reply(found) if isinstance(found, dict) else None

    def end(self, correlation_id: str) -> Reply:
        """What is answered when nobody will answer any more."""
        nothing = Reply(204)
        try:
            first = self._cache.add(_key(correlation_id), nothing.to_json(), self._kept)
            return nothing if first else self.get(correlation_id) or nothing  # an answer came just before
        except Unavailable:
            return nothing

    def close(self, correlation_id: str) -> None:
        """An answer that comes yet will not be sent, and the run log told so."""
        try:
            self._cache.add(_key(correlation_id), LATE, self._kept)
        except Unavailable:
            pass  # nobody will be told

    def reopen(self, correlation_id: str) -> None:
        """An answer that comes yet is welcome. Raises Unavailable."""
        if self._cache.get(_key(correlation_id)) == LATE:
            self._cache.delete(_key(correlation_id))

    def forget(self, correlation_id: str) -> None:
        """Another call of the same execution begins. Raises Unavailable."""
        self._cache.delete(_key(correlation_id))

    def forget_document(self, correlation_id: str) -> None:
        """The same for an answer that was given while the Cache was away. Raises Unavailable."""
        if self._documents is not None and self._documents.get(COLLECTION, correlation_id) is not None:
            self._documents.delete(COLLECTION, correlation_id)

    def in_documents(self, wanted: Callable[[], Iterable[str]]) -> dict[str, Reply]:
        """Answers to these executions, given while the Cache was away; nothing when somebody has just asked."""
        if self._documents is None:
            return {}
        now = time.monotonic()
        with self._lock:
            if now - self._looked < APART:
                return {}
            self._looked = now
        where = Where("_id", "in", sorted(set(wanted())))
        try:
            return {doc["_id"]: _reply(doc["reply"]) for doc in self._documents.find(COLLECTION, Query(where=(where,)))}
        except HeadraceError as error:
            log.warning("answers cannot be read: %s", error, extra={"action": "replies"})
            return {}


def _key(correlation_id: str) -> str:
    return f"reply:{correlation_id}"


def _reply(found: Doc) -> Reply:
    return Reply(found["status"], found["body"], found["headers"])
