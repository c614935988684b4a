"""Who waits for the answer to which execution, and how many of its messages are still to run.

Answers travel through the Cache (`reply:<correlation id>`), so the step that answers and the waiting
call may be in different processes. The announcement only wakes: a waiter also looks once a second
(design.md §4 "Webhook answers"). The first answer wins; later ones are told in the log.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from engine.errors import BadRequest
from engine.model.message import Message
from engine.ports import Cache, Doc
from engine.services.outcome import Outcome, Reply, not_json

log = logging.getLogger(__name__)

CHANNEL = "replies"
KEPT = 60.0
"""Seconds an answer is kept for those who wait, beyond the time they wait."""

LOOK = 1.0


@dataclass(frozen=True, slots=True)
class Answered:
    reply: Reply
    correlation_id: str


class Waiter:
    """One call that waits; made by `Replies.waiting`."""

    def __init__(self, cache: Cache, name: str) -> None:
        self._cache = cache
        self._name = name
        self._event = threading.Event()

    def wake(self) -> None:
        self._event.set()

    def wait(self, seconds: float) -> Reply | None:
        """The answer, or None when there was none in time (or somebody woke the waiter for another reason)."""
        deadline = time.monotonic() + seconds
        while True:
            woken = self._event.wait(max(0.0, min(LOOK, deadline - time.monotonic())))
            self._event.clear()
            found = self._cache.get(f"reply:{self._name}")
            if found is not None:
                return Reply(found["status"], found["body"], found["headers"])
            if woken or time.monotonic() >= deadline:
                return None


class Replies:
    """`timeout` is the longest a call waits, in seconds; `record` writes a record to the run log."""

    def __init__(self, cache: Cache, timeout: float, record: Callable[[Message, Doc], None]) -> None:
        self._cache = cache
        self._kept = timeout + KEPT
        self._record = record
        self._waiting: dict[str, list[Waiter]] = {}
        self._lock = threading.Lock()
        cache.subscribe(CHANNEL, self._wake)

    def _wake(self, name: str) -> None:
        for waiter in tuple(self._waiting.get(name, ())):
            waiter.wake()

    @contextmanager
    def waiting(self, correlation_id: str, *, counted: bool = True) -> Iterator[Waiter]:
        """Wait for the first answer from now on; enter before its message can run.

        `counted`: the call's own message is the first of the execution that is counted, so it is known when
        nothing is left to run and no answer will come.
        """
        waiter = Waiter(self._cache, correlation_id)
        with self._lock:
            others = self._waiting.setdefault(correlation_id, [])
            if not others:  # an answer to an earlier call of the same execution is not ours
                for key in ("reply", "answered", "open"):
                    self._cache.delete(f"{key}:{correlation_id}")
            elif counted:
                self._cache.incr(f"open:{correlation_id}", 1, self._kept)  # one more first message
            others.append(waiter)
            if counted or len(others) == 1:
                self._cache.set(f"awaited:{correlation_id}", int(counted), self._kept)
        try:
            yield waiter
        finally:
            with self._lock:
                others.remove(waiter)
                if not others:
                    del self._waiting[correlation_id]
                    self._cache.delete(f"awaited:{correlation_id}")

    @contextmanager
    def watching(self, name: str) -> Iterator[Waiter]:
        """Be woken when `name` is announced."""
        waiter = Waiter(self._cache, name)
        with self._lock:
            others = self._waiting.setdefault(name, [])
            others.append(waiter)
        try:
            yield waiter
        finally:
            with self._lock:
                others.remove(waiter)
                if not others:
                    del self._waiting[name]

    def announce(self, name: str) -> None:
        self._cache.publish(CHANNEL, name)

    def settled(self, message: Message, outcome: Outcome) -> None:
        """Called after each settlement: hand over the answer, or tell that none will come."""
        cid = message.correlation_id
        awaited = self._cache.get(f"awaited:{cid}")
        if outcome.reply is not None:
            self._replied(message, outcome, awaited=awaited is not None)
        if not awaited:
            return
        left = self._cache.incr(f"open:{cid}", len(outcome.publishes) + outcome.waits - 1, self._kept)
        if left <= -1:  # the first message was counted by nobody: it is the minus one
            self._answer(cid, Reply(204))

    def _replied(self, message: Message, outcome: Outcome, *, awaited: bool) -> None:
        cid, reply = message.correlation_id, outcome.reply
        assert reply is not None
        here = message.kind == "webhook"  # the call was answered where it arrived
        sent = self._answer(cid, reply) if awaited else (here and outcome.ended) or self._first(cid) or here
        for n, ignored in enumerate(outcome.late if sent else (reply, *outcome.late)):
            self._tell(message, ignored, n)

    def _first(self, correlation_id: str) -> bool:
        return self._cache.incr(f"answered:{correlation_id}", 1, self._kept) == 1

    def too_late(self, correlation_id: str) -> None:
        """The call was told that there is no answer; one that comes yet will not be sent."""
        self._first(correlation_id)

    def _answer(self, correlation_id: str, reply: Reply) -> bool:
        """Whether it was the first."""
        if not self._first(correlation_id):
            return False
        self._keep(correlation_id, reply)
        self.announce(correlation_id)
        return True

    def _keep(self, correlation_id: str, reply: Reply) -> None:
        try:
            self._cache.set(f"reply:{correlation_id}", reply.to_json(), self._kept)
        except BadRequest as error:
            self._cache.set(f"reply:{correlation_id}", not_json(error).to_json(), self._kept)

    def _tell(self, message: Message, reply: Reply, n: int) -> None:
        text = f"The call was answered already: a further answer with status {reply.status} was not sent."
        extra = {"action": "late_reply", "flowId": message.flow_id, "correlationId": message.correlation_id}
        log.info("a later answer was not sent", extra=extra)
        record = {"id": f"{message.id}.{message.attempt}.late{n}", "severity": "warning", "type": "flow", "msg": text}
        self._record(message, record)
