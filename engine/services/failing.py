"""What becomes of a message whose step failed: another try, the error port, or an unprocessed message."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from engine.compiler import Step, trim
from engine.model.message import Message, derived_id
from engine.ports import Cache, Clock, Documents
from engine.rules.links import ERROR_PORT
from engine.rules.retry import RetryPolicy, decide, delay_ms
from engine.sdk import Incoming
from engine.services.locking import LOCK_UNTIL
from engine.services.outcome import Emission, Outcome
from engine.services.payloads import Payloads
from engine.services.plans import RunningFlow
from engine.services.quotas import QUOTA_UNTIL
from engine.services.records import as_text, describe, failure, unprocessed
from engine.services.timers import STOPPED, timer

log = logging.getLogger(__name__)

CANCELLED = {"message": "execution cancelled", "code": "EXECUTION_CANCELLED", "name": "ExecutionCancelled"}
KEPT = 10_000
"""Messages of one execution that become unprocessed messages when it is cancelled; beyond it they are only counted."""

GONE = {"message": "the component is no longer in the flow", "code": "NO_COMPONENT", "name": "Gone"}


class Failing:
    def __init__(
        self, documents: Documents, clock: Clock, policy: RetryPolicy, payloads: Payloads, *, log_contents: bool
    ) -> None:
        self._documents = documents
        self._clock = clock
        self._policy = policy
        self._payloads = payloads
        self._log_contents = log_contents

    def failed(
        self,
        running: RunningFlow,
        step: Step,
        message: Message,
        error: BaseException,
        inputs: Mapping[str, Incoming],
        outcome: Outcome,
    ) -> Emission | None:
        """Log the try and decide. Returns what the error port emits, if that is what is to happen."""
        now = self._clock.now()
        described = describe(error, step, [incoming.content for incoming in inputs.values()])
        contents = {port: incoming.content for port, incoming in inputs.items()} or {message.port: message.content}
        outcome.logs.append(failure(message, step, now, described, contents if self._log_contents else {}))
        outcome.failures.append({"message": message, "error": described, "step": step})
        _tell(message, described)
        verdict = decide(error, message.attempt, step.error_handling, self._policy)
        if message.kind == "tick" or verdict == "discard":
            outcome.given_up += 1
            return None
        if verdict == "retry":
            again = replace(_anew(message, step), attempt=message.attempt + 1)
            due = now + delay_ms(message.attempt, self._policy)
            outcome.writes.append(
                timer(derived_id(message.id, "retry", again.attempt), "retry", due, self._payloads.detach(again))
            )
            outcome.waits += 1
            return None
        return self._give_up(running, step, message, described, contents, outcome)

    def _give_up(
        self,
        running: RunningFlow,
        step: Step,
        message: Message,
        described: dict[str, Any],
        contents: dict[str, Any],
        outcome: Outcome,
    ) -> Emission | None:
        first = next(iter(contents.values()), None)
        if step.error_handling.on_error == "errorPort" and step.targets.get(ERROR_PORT):
            content = {"error": {key: described[key] for key in ("message", "code", "name")}, "input": first}
            return Emission(ERROR_PORT, content, as_text(content))
        kept = self._payloads.detach(_anew(message, step))
        outcome.writes.append(unprocessed(kept, running.user_id, self._clock.now(), described, first))
        outcome.given_up += 1
        if step.error_handling.on_error == "stopFlow":
            outcome.stop_flows.add(running.id)
        return None

    def discard(self, message: Message, outcome: Outcome, reason: dict[str, Any], *, keep: bool = True) -> None:
        """Keep a message that cannot run as unprocessed, with the reason; ticks and signals just end.

        Without `keep` it is only counted.
        """
        if reason in (STOPPED, CANCELLED):
            outcome.cancelled = reason["message"]
        flow = self._documents.get("flows", message.flow_id)
        if flow is not None and message.kind in ("port", "webhook", "timeout"):
            outcome.given_up += 1
            if keep:
                kept = self._payloads.detach(message)
                outcome.writes.append(unprocessed(kept, flow["userId"], self._clock.now(), reason, message.content))

    def abandoned(self, step: Step | None, message: Message, reason: dict[str, Any], outcome: Outcome) -> None:
        """A step was given up from outside (over its limit, killed its process): no further try."""
        if step is not None:
            contents = {message.port: message.content}
            outcome.logs.append(failure(message, step, self._clock.now(), reason, contents))
            outcome.failures.append({"message": message, "error": reason, "step": step})
        self.discard(message, outcome, reason)


def keeps_more(cache: Cache, message: Message) -> bool:
    """Whether one more message of a cancelled execution is to be kept. Raises Unavailable."""
    return cache.incr(f"discarded:{message.flow_id}:{message.correlation_id}", 1, 86_400.0) <= KEPT


def _anew(message: Message, step: Step) -> Message:
    """For another try: with what the step and those after it read, and as if it had waited for nothing yet."""
    extra = {key: value for key, value in message.extra.items() if key not in (LOCK_UNTIL, QUOTA_UNTIL)}
    return replace(message, scope=trim(message.scope, step.needs), extra=extra)


def _tell(message: Message, described: dict[str, Any]) -> None:
    log.info(
        "step failed: %s",
        described["message"],
        extra={
            "action": "step_failed",
            "flowId": message.flow_id,
            "componentId": message.component_id,
            "correlationId": message.correlation_id,
            "attempt": message.attempt,
        },
    )
