"""A repeated webhook call waits for the answer of the first one instead of running again.

One at a time gets past a lock of the Cache; the rest wait until the first is durable, which the document
of its key shows (engine.services.webhook_keys). The lock only keeps those apart that arrive together.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from engine.errors import TimedOut, Unavailable
from engine.model.message import new_id
from engine.ports import Cache
from engine.services.outcome import Reply
from engine.services.replies import LOOK, Answered, Replies
from engine.services.watch import stopped
from engine.services.webhook_keys import First, WebhookKeys

LOCK_SECONDS = 600.0
"""Longer than a call takes until it is durable."""


class Repetitions:
    """`ended` tells whether an execution (flow id, correlation id) is known to be over."""

    def __init__(self, *, cache: Cache, keys: WebhookKeys, replies: Replies, ended: Callable[[str, str], bool]) -> None:
        self._cache = cache
        self._keys = keys
        self._replies = replies
        self._ended = ended

    def once(self, key: str, seconds: float, run: Callable[[], Answered]) -> Answered:
        """What `run` answers, or has answered to an earlier call with this key.

        Raises what `run` raises; TimedOut when the first call has not been answered within `seconds`; NotFound when
        its flow was stopped meanwhile;
        Unavailable when it cannot be known whether another one is the first.
        """
        deadline = time.monotonic() + seconds
        name, owner = f"webhook-key:{key}", new_id()
        with self._replies.watching(name) as announced:
            while True:
                if self._take(name, owner, key):
                    try:
                        first = self._keys.first(key)
                        if first is None:
                            return run()
                    finally:
                        self._cache.unlock(name, owner)
                        self._replies.announce(name)
                    return self._join(first, deadline)
                first = self._keys.first(key)
                if first is not None:
                    return self._join(first, deadline)
                if (left := deadline - time.monotonic()) <= 0:
                    raise TimedOut("an earlier call with the same key is still being worked on; try again")
                announced.wait(min(LOOK, left))
                announced.clear()

    def _take(self, name: str, owner: str, key: str) -> bool:
        try:
            return self._cache.lock(name, owner, LOCK_SECONDS)
        except Unavailable:
            if self._keys.first(key) is None:
                raise
            return False  # the first one is known: no lock is needed

    def _join(self, first: First, deadline: float) -> Answered:
        cid = first.correlation_id
        if first.reply is not None:
            return Answered(first.reply, cid)
        with self._replies.waiting(cid, counted=False) as waiter:
            while True:
                reply = self._known(first) or waiter.wait(max(0.0, min(LOOK, deadline - time.monotonic())))
                if reply is not None:
                    return Answered(reply, cid)
                if time.monotonic() >= deadline:
                    raise TimedOut(
                        f"the first call with this key, execution {cid}, has not been answered yet",
                        details=[{"correlationId": cid}],
                    )

    def _known(self, first: First) -> Reply | None:
        found = self._keys.first(first.key)
        if found is None:
            raise stopped(first.flow_id)
        if found.reply is not None:
            return found.reply
        if not self._ended(first.flow_id, first.correlation_id):
            return None
        self._keys.close(first.key, Reply(204))
        found = self._keys.first(first.key)  # an answer may have come just before the end
        return found.reply if found else None
