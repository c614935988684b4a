"""What becomes of a message whose step failed: another try, the error port, or an unprocessed message."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from engine.compiler import Step, trim
from engine.model.message import Message, derived_id
from engine.ports import Clock, Documents
from engine.rules.links import ERROR_PORT
from engine.rules.retry import RetryPolicy, decide, delay_ms
from engine.sdk import Incoming
from engine.services.outcome import Emission, Outcome
from engine.services.payloads import Payloads
from engine.services.plans import RunningFlow
from engine.services.records import as_text, describe, failure, unprocessed
from engine.services.timers import STOPPED, timer

log = logging.getLogger(__name__)

CANCELLED = {"message": "execution cancelled", "code": "EXECUTION_CANCELLED", "name": "ExecutionCancelled"}
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
            again = replace(message, attempt=message.attempt + 1, scope=trim(message.scope, step.needs))
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
        kept = replace(message, scope=trim(message.scope, step.needs))
        outcome.writes.append(unprocessed(kept, running.user_id, self._clock.now(), described, first))
        outcome.given_up += 1
        if step.error_handling.on_error == "stopFlow":
            outcome.stop_flows.add(running.id)
        return None

    def discard(self, message: Message, outcome: Outcome, reason: dict[str, Any]) -> None:
        """Keep a message that cannot run as unprocessed, with the reason; ticks and signals just end."""
        if reason in (STOPPED, CANCELLED):
            outcome.cancelled = reason["message"]
        flow = self._documents.get("flows", message.flow_id)
        if flow is not None and message.kind in ("port", "webhook", "timeout"):
            outcome.given_up += 1
            outcome.writes.append(unprocessed(message, flow["userId"], self._clock.now(), reason, message.content))

    def abandoned(self, step: Step | None, message: Message, reason: dict[str, Any], outcome: Outcome) -> None:
        """A step was given up from outside (over its limit, killed its process): no further try."""
        if step is not None:
            contents = {message.port: message.content}
            outcome.logs.append(failure(message, step, self._clock.now(), reason, contents))
            outcome.failures.append({"message": message, "error": reason, "step": step})
        self.discard(message, outcome, reason)


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
