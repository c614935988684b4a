"""Quotas of kind `limit-concurrency`, first in first out (engine.md §6).

A step that gets no slot gives its thread back: its message waits as a timer, its ticket keeps
its place in the queue of the slot. `maxWait` bounds how long a ticket keeps its place; after
that the message queues again at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.compiler import Step
from engine.model.manifest import Manifest
from engine.model.message import Message
from engine.ports import Cache
from engine.sdk import Quota
from engine.services.plans import RunningFlow

Slots = Sequence[tuple[str, str]]

LONGEST_MS = 120_000


class Quotas:
    pause_ms = 100

    def __init__(self, cache: Cache, rules: Callable[[Manifest], tuple[Quota, ...]], longest_call: float) -> None:
        self._cache = cache
        self._rules = rules
        self._longest_call = longest_call

    def acquire(self, step: Step, message: Message, running: RunningFlow) -> Slots | None:
        """The slots held for this call, or None when one of them is not free yet."""
        if step.manifest.quota_manager is None:
            return ()
        held: list[tuple[str, str]] = []
        ticket = f"{message.id}.{message.attempt}"
        wait = min(step.manifest.quota_max_wait or LONGEST_MS, LONGEST_MS) / 1000
        for n, rule in enumerate(self._rules(step.manifest)):
            if rule.throttling != "limit-concurrency":
                continue
            key = f"quota:{step.manifest.quota_manager}:{rule.resource}:{n}:{self._scope(step, rule, running)}"
            if not self._cache.acquire_slot(key, ticket, rule.limit, max(wait, self._longest_call)):
                self.release(held)
                return None
            held.append((key, ticket))
        return held

    def _scope(self, step: Step, rule: Quota, running: RunningFlow) -> str:
        """The counter a call falls under: per user, or one for the whole application."""
        per_user = "userId" in step.manifest.quota_scope or rule.scope == "userId"
        return running.user_id if per_user else ""

    def release(self, slots: Slots | None) -> None:
        for key, ticket in slots or ():
            self._cache.release_slot(key, ticket)
