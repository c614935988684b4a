"""How many messages each execution has caused; one that has caused too many is ended (design.md §4 "Bounds").

Counted roughly, for next to nothing: a process adds up what it executes, and only when that comes to a thousandth of
the limit for one execution is it added to the count in the Cache that all processes share. When the Cache does not
know the execution (any more), the count begins at what the run log knows of it. So the count is less than the truth
by a thousandth of the limit for each process at most.
"""

from __future__ import annotations

import heapq
import logging
import threading
from collections.abc import Container

from engine.errors import HeadraceError
from engine.model.message import Message
from engine.ports import Cache, LogIndex
from engine.services.cancelling import Cancelling

log = logging.getLogger(__name__)

MOST = 10_000_000
KEPT = 20_000
"""Executions a process counts at a time; the smaller half is forgotten when there are more."""

SECONDS = 7 * 86_400.0
"""How long the Cache knows an execution after it has become large."""

Key = tuple[str, str]


class MessageGuard:
    """`cancelled` tells (flow id, correlation id) of executions that were ended."""

    def __init__(
        self, cancelling: Cancelling, cache: Cache, log_index: LogIndex, cancelled: Container[Key], limit: int = MOST
    ) -> None:
        self._cancelling = cancelling
        self._cache = cache
        self._log_index = log_index
        self._cancelled = cancelled
        self._limit = limit
        self._counts: dict[Key, int] = {}
        self._lock = threading.Lock()

    def count(self, message: Message, made: int) -> None:
        """The execution of `message` has caused `made` messages more. If that is too many it is ended."""
        if not made:
            return
        key = (message.flow_id, message.correlation_id)
        with self._lock:
            counted = self._counts.get(key, 0) + made
            if counted < self._limit // 1000:
                self._counts[key] = counted
                if len(self._counts) > KEPT:
                    self._thin()
                return
            self._counts.pop(key, None)
        try:
            self._report(message, key, counted)
        except HeadraceError as error:
            log.warning("messages of an execution are counted later: %s", error, extra={"action": "guard_waits"})
            with self._lock:
                self._counts[key] = self._counts.get(key, 0) + counted

    def _thin(self) -> None:
        largest = heapq.nlargest(KEPT // 2, self._counts.items(), key=lambda item: item[1])
        self._counts = dict(largest)

    def _report(self, message: Message, key: Key, counted: int) -> None:
        name = f"caused:{key[0]}:{key[1]}"
        total = self._cache.incr(name, counted, SECONDS)
        if total == counted:
            total = self._cache.incr(name, self._recorded(key), SECONDS)
        if total >= self._limit and key not in self._cancelled:
            self._end(message)

    def _recorded(self, key: Key) -> int:
        return sum(row.steps for row in self._log_index.execution(key[1]) if row.flow_id == key[0])

    def _end(self, message: Message) -> None:
        flow_id = message.flow_id
        name = (self._cancelling.documents.get("flows", flow_id) or {}).get("name") or flow_id
        reason = f"more than {self._limit} messages in the flow {name}"
        log.error("an execution was ended: %s", reason, extra={"action": "execution_limit", "flowId": flow_id})
        text = (
            f"Execution ended: it has caused more than {self._limit} messages in the flow {name} ({flow_id}). If that"
            " is what the flow is meant to do, HEADRACE_EXECUTION_MESSAGES can be raised."
        )
        self._cancelling(message, by="limit", reason=reason, text=text, severity="error")
