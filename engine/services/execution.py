"""Runs messages: one delivery, and what may follow it in the same breath (design.md §4.3, §4.4).

Nothing leaves before the delivery is settled: `run` returns an Outcome, the caller settles it.
Steps without outside effects run on at once; at most one external step runs per delivery.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from engine.compiler import Plan, Step
from engine.errors import BadRequest, NotFound, StepError, Unavailable
from engine.model.execution import ExecutionRow
from engine.model.message import ANSWERED, Message, derived_id
from engine.ports import Bus, Settlement, Write
from engine.sdk import Incoming
from engine.services import hooks
from engine.services.accounting import accounting, of_delivery
from engine.services.cancelling import Cancelling
from engine.services.context import FOREVER, StepContext
from engine.services.emitting import children, listeners, records_of, signals, trimmed
from engine.services.failing import CANCELLED, GONE, Failing, keeps_more
from engine.services.fire_patterns import Assembler
from engine.services.guard import MOST, MessageGuard
from engine.services.incoming import incoming
from engine.services.ledger import Ledger
from engine.services.locking import LOCK_UNTIL, LockBusy
from engine.services.outcome import CallResult, Emission, Outcome
from engine.services.payloads import Payloads
from engine.services.plans import Plans, RunningFlow
from engine.services.quotas import QUOTA_UNTIL, QuotaBusy, Quotas
from engine.services.records import as_text, describe, not_sent, record
from engine.services.replies import expect
from engine.services.timers import STOPPED, timer
from engine.services.toolbox import Toolbox
from engine.services.windows import WINDOW, Windows, position
from engine.values.template import Frame

RUN_ON = 200
"""Steps executed in one delivery; what follows is published."""

HOLD_MS = 100
"""How long a message waits before it looks again whether its flow has finished starting."""


class Execution:
    """Shared by all threads; holds no state of its own. `most_messages` is what one execution may cause."""

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
        most_messages: int = MOST,
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
        cancelling = Cancelling(tools.documents, bus, tools.cache, tools.clock)
        self.guard = MessageGuard(cancelling, tools.cache, tools.log_index, tools.cancelled, most_messages)

    def is_external(self, message: Message) -> bool:
        """Whether the message's own step calls the outside world, so that it needs a thread of the pool."""
        running = self._plans.running(message.flow_id)
        if running is None:
            return False
        step = self._plans.plan(running, message.revision).steps.get(message.component_id)
        return step is not None and (step.external or not step.trusted)

    def run(
        self,
        first: Message,
        *,
        external: int,
        consumed: int = 1,
        again: bool = False,
        over: Callable[[], bool] = lambda: False,
    ) -> Outcome:
        """Execute `first`, whatever it is, and what may run on: at most `external` (0 or 1) external steps in all.

        `consumed` is 0 for a message that was never published. `again`: the message was delivered before
        to a process that died, so parts of its work may be durable. `over` tells that the delivery was given up
        meanwhile: nothing more of it is to happen, what is returned then is of no use.
        """
        outcome = Outcome(over=over, here=not consumed)
        try:
            first = self.payloads.attach(first)
            agenda = deque([first])
        except NotFound as error:
            self._failing.discard(first, outcome, describe(error))
            agenda = deque()
        while agenda and not over():
            message = agenda.popleft()
            found = self._place(message, outcome)
            if found is None:
                continue
            running, plan, step = found
            if message is not first and ((step.external and external == 0) or outcome.steps >= RUN_ON):
                outcome.publishes.append(trimmed(plan, message, self.payloads))
                continue
            external -= step.external
            self._step(running, plan, step, message, outcome, agenda, again or message.attempt > 0)
        outcome.logs.extend(of_delivery(first, outcome, self._tools.clock.now(), consumed=consumed))
        if consumed and outcome.reply is not None:
            self._tools.keys.keep(first, outcome)
        if consumed or not outcome.ended:  # what has ended where it arrived goes on nowhere
            self.guard.count(first, outcome.made)
        return outcome

    def _place(self, message: Message, outcome: Outcome) -> tuple[RunningFlow, Plan, Step] | None:
        """Where a message runs; None when it does not run now, which the outcome then says."""
        if (message.flow_id, message.correlation_id) in self._tools.cancelled:
            self._failing.discard(message, outcome, CANCELLED, keep=self._keeps(message))
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

    def _keeps(self, message: Message) -> bool:
        """Whether one more message of a cancelled execution is kept: it may have left millions of them."""
        try:
            return keeps_more(self._tools.cache, message)
        except Unavailable:
            return True

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
        outcome.steps += 1
        try:
            slots = self._quotas.acquire(step, message, running, now)
        except QuotaBusy as busy:
            self._wait(message, outcome, {QUOTA_UNTIL: busy.until} if busy.until is not None else {})
            return
        except Unavailable:
            raise  # nothing has happened yet: the message waits until the Cache is back
        except BaseException as error:  # noqa: BLE001 - rules are a connector's code
            self._failed(running, plan, step, message, error, inputs, outcome, agenda)
            return
        try:
            frame = Frame(message.scope, running.variables, message.id, now, step.id)
            inputs = incoming(self._assembler, step, message, frame)
            if not inputs and message.kind == "port":
                return  # waits for the other messages of its fire pattern
            if message.kind == "port":
                text = as_text(next(iter(inputs.values())).content) if self._log_contents else ""
                outcome.logs.append(entered := record(message, step, 0, now, text, "in", message.port))
            windows = self._windows(plan, step, message, now, again, outcome)
            result = self._call(running, step, message, inputs, frame, windows, again)
            if message.kind == "port" and (took := self._tools.clock.now() - now):
                entered["duration"] = took
        except LockBusy as busy:
            self._wait(message, outcome, {LOCK_UNTIL: busy.until})
        # whatever a connector raises ends in the log, never in the worker: sys.exit() too
        except BaseException as error:  # noqa: BLE001
            self._failed(running, plan, step, message, error, inputs, outcome, agenda)
        else:
            self._finish(running, plan, step, message, result, windows, outcome, agenda)
        finally:
            self._quotas.release(slots)
            if step.external:
                outcome.writes.extend(self._ledger.settled(message))

    def _failed(
        self,
        running: RunningFlow,
        plan: Plan,
        step: Step,
        message: Message,
        error: BaseException,
        inputs: Mapping[str, Incoming],
        outcome: Outcome,
        agenda: deque[Message],
    ) -> None:
        emission = self._failing.failed(running, step, message, error, inputs, outcome)
        if emission is not None:
            self._emit(plan, step, message, [emission], 0, outcome, agenda, alone=True)

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
            hooks.call(message, step.behaviour, context)
        if not step.trusted:
            hooks.check(step, context.result)
        if outside:
            self._ledger.done(message, context.result)
        return context.result

    def _windows(self, plan: Plan, step: Step, message: Message, now: int, again: bool, outcome: Outcome) -> Windows:
        skip = position(self._tools.documents, message.id) if again else 0

        def settle(emissions: list[Emission], first: int, place: Write) -> None:
            self._refuse_late(message, outcome)
            large = [write for emission in emissions for write in self.payloads.keep(emission, message.flow_id)]
            sent = children(plan, step, message, emissions, first, now, alone=False)
            logs = records_of(message, step, emissions, first, now, self.payloads, contents=self._log_contents)
            logs.append(accounting(message, f"w{first}", now, delta=len(sent)))
            publishes = [trimmed(plan, m, self.payloads) for m in sent]
            if sent:
                outcome.windowed += len(sent)
                expect(self._tools.cache, message, len(sent), here=outcome.here)
            self._bus.settle(None, Settlement(publishes, logs, large, last=[place])).result()
            self.guard.count(message, len(sent))

        return Windows(skip, settle, message.id, message.flow_id, now)

    def _refuse_late(self, message: Message, outcome: Outcome) -> None:
        """Raises StepError when nothing may come of the call any more."""
        if outcome.over():
            raise StepError("the step was given up", code="GIVEN_UP", retryable=False)
        if (message.flow_id, message.correlation_id) in self._tools.cancelled:
            text = "the execution was cancelled while the step was sending"
            raise StepError(text, code=str(CANCELLED["code"]), retryable=False)

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
        message = self._answer(step, message, result, outcome)
        first = result.sent - len(result.emissions)
        if first < windows.skip:  # the ledger's record of an external step holds all it sent
            result.emissions = result.emissions[windows.skip - first :]
            first = windows.skip
        while len(result.emissions) > WINDOW:
            part = CallResult(emissions=result.emissions[:WINDOW], sent=first + WINDOW)
            try:
                windows.flush(part)
            except StepError as error:
                self._failing.discard(message, outcome, describe(error))
                result.emissions = []
                break
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
            sent = signals(message, content, n, now, listeners(running.plan))
            outcome.publishes.extend(sent)
            outcome.made += len(sent)
            n += 1
        outcome.writes.extend(result.writes)
        outcome.states.extend(result.states)
        outcome.writes.extend(windows.forget())
        outcome.waits += result.waits
        outcome.made += result.waits % FOREVER
        if result.stop_flow:
            outcome.stop_flows.add(running.id)

    def _answer(self, step: Step, message: Message, result: CallResult, outcome: Outcome) -> Message:
        """Take the call's answer over. → the message as it goes on."""
        if result.reply is None:
            return message
        if outcome.reply is None:
            outcome.reply, outcome.by, outcome.again = result.reply, step, ANSWERED in message.extra
        else:
            result.log_lines.append(("warning", not_sent(step, result.reply.status)))
        return replace(message, extra={**message.extra, ANSWERED: True}) if step.targets or result.signals else message

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
            sent = children(plan, step, message, emissions, first, now, alone=alone)
            agenda.extend(sent)
            outcome.made += len(sent)

    def collect(self, running: RunningFlow, step: Step, message: Message, result: CallResult) -> Outcome:
        """What a start or stop hook caused; its messages are published, none runs on."""
        outcome = Outcome()
        agenda: deque[Message] = deque()
        windows = self._windows(running.plan, step, message, message.created, False, outcome)
        self._finish(running, running.plan, step, message, result, windows, outcome, agenda)
        outcome.publishes.extend(trimmed(running.plan, m, self.payloads) for m in agenda)
        return outcome

    def rows(self, correlation_id: str) -> Sequence[ExecutionRow]:
        """What the run log knows of an execution by now."""
        return self._tools.log_index.execution(correlation_id)

    def abandon(self, message: Message, reason: str, code: str = "RECEIVE_TIMEOUT") -> Outcome:
        """The outcome for a message that was given up: its step hangs, or its handling fails again and again."""
        outcome = Outcome(steps=1)
        step = self._step_of(message)
        self._failing.abandoned(step, message, {"message": reason, "code": code, "name": "GivenUp"}, outcome)
        if step is not None and step.external:
            outcome.writes.extend(self._ledger.settled(message))
        outcome.logs.extend(of_delivery(message, outcome, self._tools.clock.now(), consumed=1))
        return outcome

    def _step_of(self, message: Message) -> Step | None:
        try:
            running = self._plans.running(message.flow_id)
        except BadRequest:  # it does not compile
            return None
        return running.plan.steps.get(message.component_id) if running else None

    def _wait(self, message: Message, outcome: Outcome, until: dict[str, int]) -> None:
        """The step has not begun: its message comes again."""
        outcome.steps -= 1
        self._put_back(replace(message, extra={**message.extra, **until}), outcome, HOLD_MS)

    def _put_back(self, message: Message, outcome: Outcome, pause_ms: int) -> None:
        due = self._tools.clock.now() + pause_ms
        outcome.writes.append(timer(derived_id(message.id, "held", due), "retry", due, self.payloads.detach(message)))
        outcome.put_back = f"b{due}"
        outcome.waits += 1
