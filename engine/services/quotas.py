"""Quotas of kind `limit-concurrency`, first in first out (engine.md §6).

A step that gets no slot gives its thread back: its message waits as a timer and asks again a little later, which
renews its ticket's place in the queue of the slot. A message that is asked for no more (its flow was stopped) loses
its place soon. `maxWait` of the manifest bounds one try's wait; a manifest without it lets messages wait for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.compiler import Step
from engine.errors import HeadraceError, StepError
from engine.model.manifest import Manifest
from engine.model.message import Message
from engine.ports import Cache
from engine.sdk import Quota
from engine.services.plans import RunningFlow

Slots = Sequence[tuple[str, str]]

WAITING_SECONDS = 30.0
"""How long a ticket keeps its place after it was last asked for: far longer than the pause between two asks."""

QUOTA_UNTIL = "quotaUntil"
"""Key in a message's `extra`: how long (epoch ms) this try of it may wait for a slot."""


class QuotaBusy(Exception):
    """The message is to ask again a little later, until `until` (epoch ms) at most; None: for ever."""

    def __init__(self, until: int | None) -> None:
        super().__init__(until)
        self.until = until


class Quotas:
    def __init__(self, cache: Cache, rules: Callable[[Manifest], tuple[Quota, ...]], longest_call: float) -> None:
        self._cache = cache
        self._rules = rules
        self._longest_call = longest_call

    def acquire(self, step: Step, message: Message, running: RunningFlow, now: int) -> Slots:
        """The slots held for this call.

        Raises QuotaBusy; StepError when the message has waited too long, or the rules do not work.
        """
        if step.manifest.quota_manager is None:
            return ()
        ticket = f"{message.id}.{message.attempt}"
        held: list[tuple[str, str]] = []
        for key, limit in self._counters(step, running):
            if self._take(key, ticket, limit):
                held.append((key, ticket))
                continue
            self.release(held)
            until = self._until(step, message, now)
            if until is not None and now > until:
                self.release([(key, ticket)])
                raise StepError(
                    f"{step.label} waited longer than {(step.manifest.quota_max_wait or 0) / 1000:g} seconds for its"
                    f" turn: the quota {step.manifest.quota_manager} lets {limit} work at a time",
                    code="QUOTA_MAX_WAIT",
                    retryable=True,
                )
            raise QuotaBusy(until)
        return held

    def _take(self, key: str, ticket: str, limit: int) -> bool:
        """A slot is held for as long as a call may take, a place in the queue much shorter."""
        return self._cache.acquire_slot(key, ticket, limit, WAITING_SECONDS) and self._cache.acquire_slot(
            key, ticket, limit, self._longest_call
        )

    def _counters(self, step: Step, running: RunningFlow) -> list[tuple[str, int]]:
        manager = step.manifest.quota_manager
        try:
            return [
                (f"quota:{manager}:{rule.resource}:{n}:{self._scope(step, rule, running)}", int(rule.limit))
                for n, rule in enumerate(self._rules(step.manifest))
                if rule.throttling == "limit-concurrency"
            ]
        except HeadraceError:
            raise
        except Exception as error:
            text = f"the rules of the quota {manager} do not work: {type(error).__name__}: {error}"
            raise StepError(text, code="QUOTA_RULES", retryable=False) from error

    def _scope(self, step: Step, rule: Quota, running: RunningFlow) -> str:
        """The counter a call falls under: per user, or one for the whole application."""
        per_user = "userId" in step.manifest.quota_scope or rule.scope == "userId"
        return running.user_id if per_user else ""

    def _until(self, step: Step, message: Message, now: int) -> int | None:
        if step.manifest.quota_max_wait is None:
            return None
        until: int = message.extra.get(QUOTA_UNTIL) or now + step.manifest.quota_max_wait
        return until

    def release(self, slots: Slots) -> None:
        for key, ticket in slots:
            self._cache.release_slot(key, ticket)
