"""Runs messages: one delivery, and what may follow it in the same breath (design.md §4.3, §4.4).

Nothing leaves before the delivery is settled: `run` returns an Outcome, the caller settles it.
Steps without outside effects run on at once; at most one external step runs per delivery.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from engine.compiler import Plan, Step
from engine.errors import BadRequest, NotFound, StepError, ValidationFailed
from engine.model.message import Message, content_json, derived_id
from engine.ports import Bus, Doc, Settlement, Write
from engine.rules.coerce import fit
from engine.sdk import Component, Incoming
from engine.services.accounting import accounting, of_delivery
from engine.services.context import StepContext
from engine.services.emitting import children, records_of, signals, trimmed
from engine.services.failing import CANCELLED, GONE, Failing
from engine.services.fire_patterns import Assembler
from engine.services.ledger import Ledger
from engine.services.locking import LOCK_UNTIL, LockBusy
from engine.services.outcome import CallResult, Emission, Outcome
from engine.services.payloads import Payloads
from engine.services.plans import Plans, RunningFlow
from engine.services.quotas import Quotas
from engine.services.records import as_text, describe, record
from engine.services.timers import STOPPED, timer
from engine.services.toolbox import Toolbox
from engine.services.windows import WINDOW, Windows, position
from engine.values.template import Frame

RUN_ON = 200
"""Steps executed in one delivery; what follows is published."""

HOLD_MS = 100
"""How long a message waits before it looks again whether its flow has finished starting."""


class Execution:
    """Shared by all threads; holds no state of its own."""

    def __init__(
        self,
        tools: Toolbox,
        plans: Plans,
        bus: Bus,
        ledger: Ledger,
        quotas: Quotas,
        assembler: Assembler,
        failing: Failing,
        payloads: Payloads,
        *,
        log_contents: bool = True,
    ) -> None:
        self._tools = tools
        self._plans = plans
        self._bus = bus
        self._ledger = ledger
        self._quotas = quotas
        self._assembler = assembler
        self._failing = failing
        self.payloads = payloads
        self._log_contents = log_contents

    def is_external(self, message: Message) -> bool:
        """Whether the message's own step calls the outside world, so that it needs a thread of the pool."""
        running = self._plans.running(message.flow_id)
        if running is None:
            return False
        step = self._plans.plan(running, message.revision).steps.get(message.component_id)
        return step is not None and (step.external or not step.trusted)

    def run(self, first: Message, *, external: int, consumed: int = 1, again: bool = False) -> Outcome:
        """Execute `first`, whatever it is, and what may run on: at most `external` (0 or 1) external steps in all.

        `consumed` is 0 for a message that was never published. `again`: the message was delivered before
        to a process that died, so parts of its work may be durable.
        """
        outcome = Outcome()
        steps = 0
        try:
            first = self.payloads.attach(first)
            agenda = deque([first])
        except NotFound as error:
            self._failing.discard(first, outcome, describe(error))
            agenda = deque()
        while agenda:
            message = agenda.popleft()
            found = self._place(message, outcome)
            if found is None:
                continue
            running, plan, step = found
            if message is not first and ((step.external and external == 0) or steps >= RUN_ON):
                outcome.publishes.append(trimmed(plan, message, self.payloads))
                continue
            external -= step.external
            steps += 1
            self._step(running, plan, step, message, outcome, agenda, again or message.attempt > 0)
        outcome.logs.extend(self._account(first, outcome, steps, consumed))
        if consumed and outcome.reply is not None:
            self._tools.keys.keep(first, outcome)
        return outcome

    def _place(self, message: Message, outcome: Outcome) -> tuple[RunningFlow, Plan, Step] | None:
        """Where a message runs; None when it does not run now, which the outcome then says."""
        if (message.flow_id, message.correlation_id) in self._tools.cancelled:
            self._failing.discard(message, outcome, CANCELLED)
            return None
        try:
            running = self._plans.running(message.flow_id)
            if running is None or running.run != message.run or not running.active:
                self._failing.discard(message, outcome, STOPPED)
                return None
            if running.starting and message.kind != "webhook":
                self._put_back(message, outcome, HOLD_MS)
                return None
            plan = self._plans.plan(running, message.revision)
        except BadRequest as error:  # a connector of the flow was removed or no longer loads
            self._failing.discard(message, outcome, describe(error))
            return None
        step = plan.steps.get(message.component_id)
        if step is None:
            self._failing.discard(message, outcome, GONE)
            return None
        return running, plan, step

    def _account(self, first: Message, outcome: Outcome, steps: int, consumed: int) -> list[Doc]:
        return of_delivery(first, outcome, self._tools.clock.now(), steps=steps, consumed=consumed)

    def _step(
        self,
        running: RunningFlow,
        plan: Plan,
        step: Step,
        message: Message,
        outcome: Outcome,
        agenda: deque[Message],
        again: bool,
    ) -> None:
        now = self._tools.clock.now()
        inputs: Mapping[str, Incoming] = {}
        slots = self._quotas.acquire(step, message, running)
        if slots is None:
            self._put_back(message, outcome, self._quotas.pause_ms)
            return
        try:
            frame = Frame(message.scope, running.variables, message.id, now, step.id)
            inputs = self._incoming(step, message, frame)
            if not inputs and message.kind == "port":
                return  # waits for the other messages of its fire pattern
            if message.kind == "port":
                text = as_text(next(iter(inputs.values())).content) if self._log_contents else ""
                outcome.logs.append(entered := record(message, step, 0, now, text, "in", message.port))
            windows = self._windows(plan, step, message, now, again)
            result = self._call(running, step, message, inputs, frame, windows, again)
            if message.kind == "port" and (took := self._tools.clock.now() - now):
                entered["duration"] = took
        except LockBusy as busy:
            waiting = replace(message, extra={**message.extra, LOCK_UNTIL: busy.until})
            self._put_back(waiting, outcome, HOLD_MS)
        # whatever a connector raises ends in the log, never in the worker: sys.exit() too
        except BaseException as error:  # noqa: BLE001
            emission = self._failing.failed(running, step, message, error, inputs, outcome)
            if emission is not None:
                self._emit(plan, step, message, [emission], 0, outcome, agenda, alone=True)
        else:
            self._finish(running, plan, step, message, result, windows, outcome, agenda)
        finally:
            self._quotas.release(slots)
            if step.external:
                outcome.writes.extend(self._ledger.settled(message))

    def _call(
        self,
        running: RunningFlow,
        step: Step,
        message: Message,
        inputs: Mapping[str, Incoming],
        frame: Frame,
        windows: Windows,
        again: bool,
    ) -> CallResult:
        """Call the hook; an external step through the ledger, which may know the result already."""
        outside = step.external and message.kind != "signal"
        if outside:
            entry = self._ledger.begin(message)
            if entry is not None:
                return entry
        # an external step is not called again, so what it sent first cannot be skipped: its windows come after
        properties = step.properties.evaluate(frame)
        context = StepContext(
            self._tools, running, step, message, inputs, properties, None if step.external else windows, again
        )
        if step.disabled:
            self._pass_through(step, inputs, context)
        else:
            _HOOKS[message.kind](step.behaviour, context)
        if not step.trusted:
            _check(step, context.result)
        if outside:
            self._ledger.done(message, context.result)
        return context.result

    def _windows(self, plan: Plan, step: Step, message: Message, now: int, again: bool) -> Windows:
        skip = position(self._tools.documents, message.id) if again else 0

        def settle(emissions: list[Emission], first: int, place: Write) -> None:
            large = [write for emission in emissions for write in self.payloads.keep(emission, message.flow_id)]
            sent = children(plan, step, message, emissions, first, now, alone=False)
            logs = records_of(message, step, emissions, first, now, self.payloads, contents=self._log_contents)
            logs.append(accounting(message, f"w{first}", now, delta=len(sent)))
            publishes = [trimmed(plan, m, self.payloads) for m in sent]
            self._bus.settle(None, Settlement(publishes, logs, [place, *large])).result()

        return Windows(skip, settle, message.id, message.flow_id, now)

    def _incoming(self, step: Step, message: Message, frame: Frame) -> Mapping[str, Incoming]:
        if message.kind != "port":
            if message.kind in ("webhook", "timeout"):
                return {message.kind: _arrived(message, message.content)}
            return {}
        if step.manifest.fire_patterns:
            return self._assembler.add(step, message, self._content(step, message, frame))
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

    def _finish(
        self,
        running: RunningFlow,
        plan: Plan,
        step: Step,
        message: Message,
        result: CallResult,
        windows: Windows,
        outcome: Outcome,
        agenda: deque[Message],
    ) -> None:
        now = self._tools.clock.now()
        first = result.sent - len(result.emissions)
        if first < windows.skip:  # the ledger's record of an external step holds all it sent
            result.emissions = result.emissions[windows.skip - first :]
            first = windows.skip
        while len(result.emissions) > WINDOW:
            part = CallResult(emissions=result.emissions[:WINDOW], sent=first + WINDOW)
            windows.flush(part)
            result.emissions = result.emissions[WINDOW:]
            first += WINDOW
        alone = first == 0 and len(result.emissions) == 1
        self._emit(plan, step, message, result.emissions, first, outcome, agenda, alone=alone)
        n = result.sent + 1
        for level, content in result.log_lines:
            text = content if isinstance(content, str) else as_text(content)
            outcome.logs.append({**record(message, step, n, now, text, "log", ""), "severity": level})
            n += 1
        for content in result.signals:
            outcome.publishes.extend(signals(message, content, n, now, _listeners(running.plan)))
            n += 1
        outcome.writes.extend(result.writes)
        outcome.states.extend(result.states)
        outcome.writes.extend(windows.forget())
        outcome.waits += result.waits
        outcome.answer(result.reply)
        if result.stop_flow:
            outcome.stop_flows.add(running.id)

    def _emit(
        self,
        plan: Plan,
        step: Step,
        message: Message,
        emissions: list[Emission],
        first: int,
        outcome: Outcome,
        agenda: deque[Message],
        *,
        alone: bool,
    ) -> None:
        if emissions:
            now = self._tools.clock.now()
            for emission in emissions:
                outcome.writes.extend(self.payloads.keep(emission, message.flow_id))
            outcome.logs.extend(
                records_of(message, step, emissions, first, now, self.payloads, contents=self._log_contents)
            )
            agenda.extend(children(plan, step, message, emissions, first, now, alone=alone))

    def collect(self, running: RunningFlow, step: Step, message: Message, result: CallResult) -> Outcome:
        """What a start or stop hook caused; its messages are published, none runs on."""
        outcome = Outcome()
        agenda: deque[Message] = deque()
        windows = self._windows(running.plan, step, message, message.created, again=False)
        self._finish(running, running.plan, step, message, result, windows, outcome, agenda)
        outcome.publishes.extend(trimmed(running.plan, m, self.payloads) for m in agenda)
        return outcome

    def abandon(self, message: Message, reason: str, code: str = "RECEIVE_TIMEOUT") -> Outcome:
        """The outcome for a message whose step was given up (it hangs over its limit)."""
        outcome = Outcome()
        running = self._plans.running(message.flow_id)
        step = running.plan.steps.get(message.component_id) if running else None
        self._failing.abandoned(step, message, {"message": reason, "code": code, "name": "GivenUp"}, outcome)
        if step is not None and step.external:
            outcome.writes.extend(self._ledger.settled(message))
        outcome.logs.extend(self._account(message, outcome, 1, 1))
        return outcome

    def _put_back(self, message: Message, outcome: Outcome, pause_ms: int) -> None:
        due = self._tools.clock.now() + pause_ms
        outcome.writes.append(timer(derived_id(message.id, "held", due), "retry", due, self.payloads.detach(message)))
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


def _listeners(plan: Plan) -> list[str]:
    return [cid for cid, step in plan.steps.items() if type(step.behaviour).signal is not Component.signal]


def _check(step: Step, result: CallResult) -> None:
    """Raises StepError when the settlement could not hold what a connector asked for."""
    try:
        content_json(result.to_json())
    except TypeError as error:
        text = f"{step.type} asked for something that is not JSON: {error}"
        raise StepError(text, code="NOT_JSON", retryable=False) from error


def _receive(behaviour: Component, context: StepContext) -> None:
    behaviour.receive(context)


def _tick(behaviour: Component, context: StepContext) -> None:
    behaviour.tick(context)


def _signal(behaviour: Component, context: StepContext) -> None:
    behaviour.signal(context)


_HOOKS = {"port": _receive, "webhook": _receive, "timeout": _receive, "tick": _tick, "signal": _signal}
