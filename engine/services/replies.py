"""Who waits for the answer to which execution, and how many of its messages are still to run.

Answers lie in `engine.services.answers`, so the step that answers and the waiting call may be in different
processes. The announcement only wakes: a waiter also looks once a second (design.md §4 "Webhook answers").
The first answer wins; later ones are told in the log.

Messages are counted in the Cache, for each call those that it has caused: a call back to an execution under way is
told that there is no answer when all of these are over and nothing else of the execution is at work. While the Cache
is away nobody counts, and one that has lost something counts wrongly: then it is the run log that tells whether an
execution has ended without an answer.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from engine.compiler import Step
from engine.errors import HeadraceError, Unavailable
from engine.model.message import Message, call_of
from engine.ports import NOTICES_LOST, Cache, Doc, Documents
from engine.services.answers import Answers
from engine.services.outcome import Outcome, Reply
from engine.services.records import not_sent
from engine.services.timers import STOPPED
from engine.services.watch import Watch, stopped

log = logging.getLogger(__name__)

CHANNEL = "replies"
KEPT = 60.0
"""Seconds an answer is kept for those who wait, beyond the time they wait."""

LOOK, LOOK_AGAIN = 1.0, 0.2
"""Seconds between two looks of a waiter, and while the Cache cannot be trusted."""

SENDING = 3600.0
"""Seconds that a step which sends in windows is counted for."""

ASK_EVERY = 2.0
"""Seconds between two questions to the run log for one waiter."""


@dataclass(frozen=True, slots=True)
class Answered:
    reply: Reply
    correlation_id: str


@dataclass(slots=True, eq=False)
class Waiter:
    """One call that waits; made by `Replies.waiting`. `counted`: the end of what it caused shows in the Cache.

    `ending`: that has ended, but something else of the execution is at work.
    """

    find: Callable[[Waiter, bool, bool], Reply | None]
    correlation_id: str
    flow_id: str
    counted: bool
    call: str
    watch: Watch | None = None
    ending: bool = False
    stop_seen: bool = False
    entered: bool = False
    given: Reply | None = None
    asked: float = field(default_factory=time.monotonic)
    ends_seen: int = 0
    event: threading.Event = field(default_factory=threading.Event)

    def wait(self, seconds: float) -> Reply | None:
        """The answer, or None when there was none in time. Raises NotFound when the flow was stopped."""
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            pause = LOOK if self.counted and not self.ending else LOOK_AGAIN
            woken = self.event.wait(max(0.0, min(pause, left)))
            self.event.clear()
            reply = self.find(self, not woken, left <= 0)
            if reply is not None or left <= 0:
                return reply


class Replies:
    """`timeout` is the longest a call waits, in seconds; `record` writes a record to the run log.

    For a Cache that may be away: `documents`, and `ended`, which tells whether an execution (flow id,
    correlation id) is known to be over.
    """

    def __init__(
        self,
        cache: Cache,
        timeout: float,
        record: Callable[[Message, Doc], None],
        documents: Documents | None = None,
        ended: Callable[[str, str], bool] = lambda _flow_id, _correlation_id: False,
    ) -> None:
        self._cache = cache
        self._kept = timeout + KEPT
        self._record = record
        self._answers = Answers(cache, documents, self._kept)
        self._ended = ended
        self._events: dict[str, list[threading.Event]] = {}
        self._waiters: dict[Waiter, None] = {}
        self._lock = threading.Lock()
        self._entering = threading.Lock()
        self._listening = False

    # -- waiting

    @contextmanager
    def waiting(
        self,
        correlation_id: str,
        flow_id: str = "",
        *,
        counted: bool = True,
        fresh: bool = False,
        begun: bool = False,
        watch: Watch | None = None,
    ) -> Iterator[Waiter]:
        """Wait for the first answer from now on; enter before its message can run.

        `counted`: the call's own message is the first that is counted, so it is known when nothing that it caused
        is left to run and no answer will come. `fresh`: nobody can have waited for this execution before, but for
        `begun`, when windows of it were settled already. `watch` tells more of a call.
        """
        call = watch.message.id if watch is not None else correlation_id
        waiter = Waiter(self._find, correlation_id, flow_id, counted, call, watch)
        with self._listed(correlation_id, waiter.event):
            self._waiters[waiter] = None
            try:
                self._enter(waiter, fresh, begun)
                yield waiter
            finally:
                del self._waiters[waiter]
                self._leave(waiter)

    @contextmanager
    def watching(self, name: str) -> Iterator[threading.Event]:
        """Set whenever `name` is announced."""
        event = threading.Event()
        with self._listed(name, event):
            yield event

    def announce(self, name: str) -> None:
        self._cache.publish(CHANNEL, name)

    @contextmanager
    def _listed(self, name: str, event: threading.Event) -> Iterator[None]:
        with self._lock:
            if not self._listening:  # with the first one, for in many processes nobody ever waits
                self._cache.subscribe(CHANNEL, self._wake)
                self._cache.subscribe(NOTICES_LOST, self._doubt)
                self._listening = True
            self._events.setdefault(name, []).append(event)
        try:
            yield
        finally:
            with self._lock:
                others = self._events[name]
                others.remove(event)
                if not others:
                    del self._events[name]

    def _wake(self, name: str) -> None:
        for event in tuple(self._events.get(name, ())):
            event.set()

    def _doubt(self, _text: str) -> None:
        """The Cache was away: what it counts is no longer to be trusted."""
        for waiter in list(self._waiters):
            waiter.counted = False

    def _enter(self, waiter: Waiter, fresh: bool, begun: bool) -> None:
        cid, call, cache = waiter.correlation_id, waiter.call, self._cache
        try:
            if fresh:
                if not begun:
                    cache.incr(f"awaited:{cid}", 1, self._kept)
            elif waiter.counted:
                self._answers.forget_document(cid)  # even if others wait: they have read it, or left while it was away
                with self._entering:
                    if cache.incr(f"awaited:{cid}", 1, self._kept) == 1:
                        self._answers.forget(cid)  # an answer to an earlier call of the same execution is not ours
                if call != cid:
                    cache.set(f"awaited:{call}", 1, self._kept)
            else:
                self._answers.reopen(cid)
            waiter.entered = waiter.counted
        except Unavailable:
            waiter.counted = False

    def _leave(self, waiter: Waiter) -> None:
        if not waiter.entered:
            return
        cid, call = waiter.correlation_id, waiter.call
        try:
            if self._cache.incr(f"awaited:{cid}", -1, self._kept) <= 0:
                self._cache.delete(*_counters(cid))
            if call != cid:
                self._cache.delete(*_counters(call))
        except Unavailable:
            pass  # it lapses

    # -- looking

    def _find(self, waiter: Waiter, a_while: bool, last: bool) -> Reply | None:
        """`a_while`: it was not woken; `last`: it will not look again. Raises NotFound when the flow was stopped."""
        reply = self._in_cache(waiter)
        if reply is None and a_while:
            self._look_in_documents()
            reply = waiter.given
            if reply is None:
                self._see_stop(waiter, last)
            if reply is None and waiter.flow_id and (last or not waiter.counted):
                reply = self._by_the_run_log(waiter, last)
        return reply

    def _in_cache(self, waiter: Waiter) -> Reply | None:
        cid = waiter.correlation_id
        try:
            reply = self._answers.get(cid)
            if reply is not None:
                return reply
            # the first message was counted by nobody: it is the minus one
            if waiter.counted and (self._cache.get(f"open:{waiter.call}") or 0) < 0:
                return self._over(waiter)
        except Unavailable:
            waiter.counted = False
        return waiter.given

    def _over(self, waiter: Waiter) -> Reply | None:
        """All that the call has caused is over. Raises NotFound, Unavailable."""
        if self._cache.get(f"cut:{waiter.call}"):
            raise stopped(waiter.flow_id)
        if waiter.call == waiter.correlation_id:
            return self._answers.end(waiter.correlation_id)
        waiter.ending = waiter.watch is not None and waiter.watch.others_at_work()
        return waiter.given if waiter.ending else self._answers.get(waiter.correlation_id) or Reply(204)

    def _see_stop(self, waiter: Waiter, last: bool) -> None:
        """A message that a stop took off the bus is settled by nobody. Seen once, an answer may be on its way."""
        watch = waiter.watch
        if watch is None:
            return
        before, waiter.stop_seen = waiter.stop_seen or last, watch.stopped(last=last)
        if before and waiter.stop_seen:
            raise stopped(waiter.flow_id)

    def _look_in_documents(self) -> None:
        """For all who wait in this process."""
        waiters = list(self._waiters)
        found = self._answers.in_documents(lambda: [waiter.correlation_id for waiter in waiters])
        for waiter in waiters if found else ():
            if waiter.correlation_id in found:
                waiter.given = found[waiter.correlation_id]
                waiter.event.set()

    def _by_the_run_log(self, waiter: Waiter, last: bool) -> Reply | None:
        """Its records may come in another order than they were made: once is not enough while there is time."""
        now = time.monotonic()
        if now - waiter.asked < ASK_EVERY and not last:
            return None
        waiter.asked = now
        try:
            over = self._ended(waiter.flow_id, waiter.correlation_id)
        except HeadraceError:
            return None
        waiter.ends_seen = waiter.ends_seen + 1 if over else 0
        return self._answers.end(waiter.correlation_id) if waiter.ends_seen > 1 or (over and last) else None

    # -- answering

    def settled(self, message: Message, outcome: Outcome) -> None:
        """Called after each settlement: hand over the answer, or tell that none will come.

        While the Cache is away it waits for Documents: not on a thread that these need.
        """
        if outcome.reply is not None:
            self._replied(message, outcome)
            return
        call = call_of(message)
        try:
            if not self._cache.get(f"awaited:{call}"):
                return
            if outcome.cancelled == STOPPED["message"]:
                self._cache.set(f"cut:{call}", 1, self._kept)
            left = self._cache.incr(f"open:{call}", len(outcome.publishes) + outcome.waits - 1, self._kept)
        except Unavailable:
            return  # the run log will tell
        if left < 0:
            self.announce(message.correlation_id)

    def _replied(self, message: Message, outcome: Outcome) -> None:
        reply, cid = outcome.reply, message.correlation_id
        assert reply is not None
        sent = outcome.answered
        if sent:
            if not outcome.ended:
                self._answers.close(cid)
        elif not outcome.again or self._awaited(cid):
            sent = self._answers.put(message, reply)
            if sent:
                self.announce(cid)
        if not sent:
            self._tell(message, reply, outcome.by)

    def _awaited(self, correlation_id: str) -> bool:
        try:
            return bool(self._cache.get(f"awaited:{correlation_id}"))
        except Unavailable:
            return True  # perhaps

    def too_late(self, correlation_id: str) -> None:
        """The call was told that there is no answer; one that comes yet will not be sent."""
        self._answers.close(correlation_id)

    def _tell(self, message: Message, reply: Reply, step: Step | None) -> None:
        extra = {"action": "late_reply", "flowId": message.flow_id, "correlationId": message.correlation_id}
        log.info("a later answer was not sent", extra=extra)
        record = {
            "id": f"{message.id}.{message.attempt}.late",
            "severity": "warning",
            "type": "flow",
            "msg": f"a further answer with status {reply.status} was not sent",
        }
        if step is not None:
            record |= {"componentId": step.id, "componentType": step.type, "msg": not_sent(step, reply.status)}
        self._record(message, record)


def expect(cache: Cache, message: Message, count: int, *, here: bool) -> None:
    """`count` messages in a window are about to become durable, and may end before the step that sent them.

    `here`: the call runs where it has arrived, and does not wait yet.
    """
    call = call_of(message)
    try:
        if here:
            cache.add(f"awaited:{call}", 1, SENDING)
        if cache.get(f"awaited:{call}"):
            cache.incr(f"open:{call}", count, SENDING)
    except Unavailable:
        pass  # the run log will tell


def _counters(call: str) -> tuple[str, str, str]:
    """Who waits for a call's answer, how many messages that it caused are left, whether a stop has cut some off."""
    return f"awaited:{call}", f"open:{call}", f"cut:{call}"
