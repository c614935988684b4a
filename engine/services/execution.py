"""Runs messages: one delivery, and what may follow it in the same breath (design.md §4.3, §4.4).

Nothing leaves before the delivery is settled: `run` returns an Outcome, the caller settles it.
Steps without outside effects run on at once; at most one external step runs per delivery.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from engine.compiler import Plan, Step, trim
from engine.errors import ValidationFailed
from engine.model.message import Message, derived_id
from engine.ports import Doc, Write
from engine.rules.coerce import fit
from engine.rules.links import ERROR_PORT
from engine.rules.retry import RetryPolicy, decide, delay_ms
from engine.sdk import Component, Incoming
from engine.services.context import StepContext
from engine.services.fire_patterns import Assembler
from engine.services.outcome import Emission, Outcome
from engine.services.plans import Plans, RunningFlow
from engine.services.quotas import Quotas
from engine.services.records import accounting, as_text, describe, failure, record, unprocessed
from engine.services.timers import timer
from engine.services.toolbox import Toolbox
from engine.values.template import Frame

log = logging.getLogger(__name__)

RUN_ON = 200
"""Steps executed in one delivery; what follows is published."""

HOLD_MS = 100
"""How long a message waits before it looks again whether its flow has finished starting."""

_STOPPED = {"message": "flow stopped", "code": "FLOW_STOPPED", "name": "FlowStopped"}


class Execution:
    """Shared by all threads; holds no state of its own."""

    def __init__(
        self,
        tools: Toolbox,
        plans: Plans,
        quotas: Quotas,
        assembler: Assembler,
        policy: RetryPolicy,
        *,
        log_contents: bool = True,
    ) -> None:
        self._tools = tools
        self._plans = plans
        self._quotas = quotas
        self._assembler = assembler
        self._policy = policy
        self._log_contents = log_contents

    def is_external(self, message: Message) -> bool:
        """Whether the message's own step calls the outside world, so that it needs a thread of the pool."""
        running = self._plans.running(message.flow_id)
        if running is None:
            return False
        step = self._plans.plan(running, message.revision).steps.get(message.component_id)
        return step is not None and (step.external or not step.trusted)

    def run(self, first: Message, *, external: int, consumed: int = 1) -> Outcome:
        """Execute `first`, whatever it is, and what may run on: at most `external` (0 or 1) external steps in all.

        `consumed` is 0 for a message that was never published.
        """
        outcome = Outcome()
        agenda = deque([first])
        steps = 0
        while agenda:
            message = agenda.popleft()
            running = self._plans.running(message.flow_id)
            if running is None or running.run != message.run or not running.active:
                self._discard(message, outcome, _STOPPED)
                continue
            if running.starting and message.kind != "webhook":
                self._put_back(message, outcome, HOLD_MS)
                continue
            plan = self._plans.plan(running, message.revision)
            step = plan.steps.get(message.component_id)
            if step is None:
                reason = {"message": "the component is no longer in the flow", "code": "NO_COMPONENT", "name": "Gone"}
                self._discard(message, outcome, reason)
                continue
            if message is not first and ((step.external and external == 0) or steps >= RUN_ON):
                outcome.publishes.append(replace(message, scope=trim(message.scope, step.needs)))
                continue
            external -= step.external
            steps += 1
            self._step(running, plan, step, message, outcome, agenda)
        outcome.logs.append(self._account(first, outcome, steps, consumed))
        return outcome

    def _account(self, first: Message, outcome: Outcome, steps: int, consumed: int) -> Doc:
        kind = outcome.put_back or ("d" if consumed else "r")
        failed = outcome.failures[-1]["message"].component_id if outcome.failures else None
        return accounting(
            first,
            kind,
            self._tools.clock.now(),
            delta=len(outcome.publishes) - consumed,
            steps=steps,
            errors=len(outcome.failures),
            failed=failed,
        )

    def _step(
        self, running: RunningFlow, plan: Plan, step: Step, message: Message, outcome: Outcome, agenda: deque[Message]
    ) -> None:
        now = self._tools.clock.now()
        inputs: Mapping[str, Incoming] = {}
        slots = self._quotas.acquire(step, message, running)
        if slots is None:
            self._put_back(message, outcome, self._quotas.pause_ms)
            return
        try:
            frame = Frame(message.scope, running.variables, message.id, now, step.id)
            taken: list[Write] = []
            inputs = self._incoming(step, message, frame, taken)
            if not inputs and message.kind == "port":
                return  # waits for the other messages of its fire pattern
            if message.kind == "port":
                text = as_text(next(iter(inputs.values())).content) if self._log_contents else ""
                outcome.logs.append(record(message, step, 0, now, text, "in", message.port))
            context = StepContext(self._tools, running, step, message, inputs, step.properties.evaluate(frame))
            if step.disabled:
                self._pass_through(step, inputs, context)
            else:
                _HOOKS[message.kind](step.behaviour, context)
        except Exception as error:  # noqa: BLE001 - whatever a connector raises ends in the log, never in the worker
            self._failed(running, plan, step, message, error, inputs, outcome, agenda)
        else:
            self._finished(running, plan, step, message, context, outcome, agenda)
            outcome.writes.extend(taken)
        finally:
            self._quotas.release(slots)

    def _incoming(self, step: Step, message: Message, frame: Frame, taken: list[Write]) -> Mapping[str, Incoming]:
        if message.kind != "port":
            if message.kind in ("webhook", "timeout"):
                return {message.kind: _arrived(message, message.content)}
            return {}
        if step.manifest.fire_patterns:
            return self._assembler.add(step, message, self._content(step, message, frame), taken)
        return {message.port: _arrived(message, self._content(step, message, frame))}

    def _content(self, step: Step, message: Message, frame: Frame) -> Any:
        """The mapped and checked content of one message (engine.md §5 "Life of a message")."""
        mapping = step.inputs.get((message.port, message.sender_id or "", message.sender_port or ""))
        content = mapping.evaluate(frame) if mapping is not None else message.content
        check = step.validators.get(message.port)
        if check is not None and not check.is_valid(content):
            port = step.manifest.in_port(message.port)
            content = fit(content, port.schema if port else None)
            wrong = [
                {"path": ".".join(map(str, e.instance_path)), "message": e.message} for e in check.iter_errors(content)
            ]
            if wrong:
                place = f"{wrong[0]['path']}: " if wrong[0]["path"] else ""
                text = f"Validation error on ports: {message.port} ({place}{wrong[0]['message']})"
                raise ValidationFailed(text, details=wrong)
        return content

    def _pass_through(self, step: Step, inputs: Mapping[str, Incoming], context: StepContext) -> None:
        """A disabled step hands its input on through its first out port (engine.md §4 "disabled")."""
        if step.manifest.out_ports and inputs:
            context.send(next(iter(inputs.values())).original_content, step.manifest.out_ports[0].name)

    # -- after the call

    def _finished(
        self,
        running: RunningFlow,
        plan: Plan,
        step: Step,
        message: Message,
        context: StepContext,
        outcome: Outcome,
        agenda: deque[Message],
    ) -> None:
        now = self._tools.clock.now()
        n = 1
        for emission in context.emissions:
            text = emission.text if self._log_contents else ""
            outcome.logs.append(record(message, step, n, now, text, "out", emission.port))
            self._emit(plan, step, message, emission, n, now, agenda, alone=len(context.emissions) == 1)
            n += 1
        for level, content in context.log_lines:
            text = content if isinstance(content, str) else as_text(content)
            outcome.logs.append({**record(message, step, n, now, text, "log", ""), "severity": level})
            n += 1
        for content in context.signals:
            outcome.publishes.extend(self._signals(running, message, content, n, now))
            n += 1
        outcome.writes.extend(context.writes)
        outcome.waits += context.effects.waits
        if outcome.reply is None:
            outcome.reply = context.reply
        if context.effects.stop_flow:
            outcome.stop_flows.add(running.id)

    def _emit(
        self,
        plan: Plan,
        step: Step,
        message: Message,
        emission: Emission,
        n: int,
        now: int,
        agenda: deque[Message],
        *,
        alone: bool,
    ) -> None:
        """One copy per link. The scope is handed on without copying when nobody else needs it."""
        targets = step.targets.get(emission.port, ())
        read = plan.read is None or (step.id, emission.port) in plan.read
        base = message.scope if emission.scope is None else emission.scope
        for cid, port in targets:
            scope = base if alone and len(targets) == 1 else dict(base)
            if read:
                scope[step.id] = {emission.port: emission.content}
            agenda.append(
                Message(
                    id=derived_id(message.id, message.attempt and "retry", emission.port, n, cid, port),
                    flow_id=message.flow_id,
                    run=message.run,
                    revision=message.revision,
                    component_id=cid,
                    correlation_id=message.correlation_id,
                    port=port,
                    content=emission.content,
                    scope=scope,
                    created=now,
                    sender_id=step.id,
                    sender_port=emission.port,
                    depth=message.depth,
                )
            )

    def _signals(self, running: RunningFlow, message: Message, content: Any, n: int, now: int) -> list[Message]:
        return [
            replace(
                message,
                id=derived_id(message.id, "signal", n, step.id),
                component_id=step.id,
                port="signal",
                kind="signal",
                content=content,
                scope={},
                created=now,
                sender_id=message.component_id,
                sender_port=None,
                attempt=0,
                extra={},
            )
            for step in running.plan.steps.values()
            if type(step.behaviour).signal is not Component.signal
        ]

    def collect(self, running: RunningFlow, step: Step, message: Message, context: StepContext) -> Outcome:
        """What a start or stop hook caused; its messages are published, none runs on."""
        outcome = Outcome()
        agenda: deque[Message] = deque()
        self._finished(running, running.plan, step, message, context, outcome, agenda)
        for m in agenda:
            outcome.publishes.append(replace(m, scope=trim(m.scope, running.plan.steps[m.component_id].needs)))
        return outcome

    # -- failures

    def _failed(
        self,
        running: RunningFlow,
        plan: Plan,
        step: Step,
        message: Message,
        error: Exception,
        inputs: Mapping[str, Incoming],
        outcome: Outcome,
        agenda: deque[Message],
    ) -> None:
        now = self._tools.clock.now()
        described = describe(error)
        contents = {port: incoming.content for port, incoming in inputs.items()} or {message.port: message.content}
        outcome.logs.append(failure(message, step, now, described, contents if self._log_contents else {}))
        outcome.failures.append({"message": message, "error": described, "step": step})
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
        verdict = decide(error, message.attempt, step.error_handling, self._policy)
        if message.kind == "tick" or verdict == "discard":
            return
        if verdict == "retry":
            again = replace(message, attempt=message.attempt + 1, scope=trim(message.scope, step.needs))
            due = now + delay_ms(message.attempt, self._policy)
            outcome.writes.append(timer(derived_id(message.id, "retry", again.attempt), "retry", due, again))
            outcome.waits += 1
            return
        self._give_up(running, plan, step, message, described, contents, outcome, agenda)

    def _give_up(
        self,
        running: RunningFlow,
        plan: Plan,
        step: Step,
        message: Message,
        described: dict[str, Any],
        contents: dict[str, Any],
        outcome: Outcome,
        agenda: deque[Message],
    ) -> None:
        now = self._tools.clock.now()
        if step.error_handling.on_error == "errorPort" and step.targets.get(ERROR_PORT):
            short = {key: described[key] for key in ("message", "code", "name")}
            content = {"error": short, "input": next(iter(contents.values()), None)}
            emission = Emission(ERROR_PORT, content, as_text(content))
            outcome.logs.append(record(message, step, 1, now, emission.text, "out", ERROR_PORT))
            self._emit(plan, step, message, emission, 1, now, agenda, alone=True)
            return
        kept = replace(message, scope=trim(message.scope, step.needs))
        outcome.writes.append(unprocessed(kept, running.user_id, now, described, next(iter(contents.values()), None)))
        if step.error_handling.on_error == "stopFlow":
            outcome.stop_flows.add(running.id)

    def abandon(self, message: Message, reason: str) -> Outcome:
        """The outcome for a message whose step was given up (it hangs over its limit)."""
        outcome = Outcome()
        error = {"message": reason, "code": "RECEIVE_TIMEOUT", "name": "TimedOut"}
        running = self._plans.running(message.flow_id)
        step = running.plan.steps.get(message.component_id) if running else None
        if step is not None:
            contents = {message.port: message.content}
            outcome.logs.append(failure(message, step, self._tools.clock.now(), error, contents))
            outcome.failures.append({"message": message, "error": error, "step": step})
        self._discard(message, outcome, error)
        outcome.logs.append(self._account(message, outcome, 1, 1))
        return outcome

    def _discard(self, message: Message, outcome: Outcome, reason: dict[str, Any]) -> None:
        flow = self._tools.documents.get("flows", message.flow_id)
        if flow is not None and message.kind in ("port", "webhook", "timeout"):
            now = self._tools.clock.now()
            outcome.writes.append(unprocessed(message, flow["userId"], now, reason, message.content))

    def _put_back(self, message: Message, outcome: Outcome, pause_ms: int) -> None:
        due = self._tools.clock.now() + pause_ms
        outcome.writes.append(timer(derived_id(message.id, "held", due), "retry", due, message))
        outcome.put_back = f"b{due}"
        outcome.waits += 1


def _arrived(message: Message, content: Any) -> Incoming:
    return Incoming(
        content,
        message.content,
        message.correlation_id,
        message.scope,
        message.sender_id,
        message.sender_port,
        message.extra.get("timeoutId"),
    )


def _receive(behaviour: Component, context: StepContext) -> None:
    behaviour.receive(context)


def _tick(behaviour: Component, context: StepContext) -> None:
    behaviour.tick(context)


def _signal(behaviour: Component, context: StepContext) -> None:
    behaviour.signal(context)


_HOOKS = {"port": _receive, "webhook": _receive, "timeout": _receive, "tick": _tick, "signal": _signal}
