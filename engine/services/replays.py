"""Plays executions again: from their trigger or from a step, with what the run log recorded (issue "Executions").

The messages that came to the step are made again, each with the outputs it had passed on its way, and published
under a new correlation id. A trigger itself does not run again: what it sent is sent again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from engine.compiler import Output, Plan, Step, trim
from engine.errors import BadRequest, Conflict, NotFound
from engine.model.execution import ExecutionRow
from engine.model.message import REPLAY_OF, Message, Scope, new_id
from engine.ports import Bus, Clock, Doc, Documents, LogIndex, Settlement
from engine.services.accounting import accounting
from engine.services.execution_steps import content, contents
from engine.services.lineage import Arrival, Lineage, Sent, replayed_id
from engine.services.payloads import Payloads
from engine.services.plans import Plans, RunningFlow
from engine.services.retry_scope import before, completed_scope

MOST_MESSAGES = 1_000
"""Messages one replay may begin with."""

LONGEST_CHAIN = 10
"""Replays of replays that are traced back."""


class Replays:
    def __init__(
        self, *, documents: Documents, bus: Bus, clock: Clock, plans: Plans, log_index: LogIndex, payloads: Payloads
    ) -> None:
        self._documents = documents
        self._bus = bus
        self._clock = clock
        self._plans = plans
        self._log_index = log_index
        self._payloads = payloads

    def replay(self, row: ExecutionRow, component_id: str | None, *, newest: bool, allow_masked: bool, by: str) -> str:
        """Begin a new execution; returns its correlation id. `component_id=None` means the trigger.

        With `allow_masked`, steps get the mask where the run log does not keep a secret. Raises Conflict while
        the flow is not running; BadRequest when the step did not run or is gone, the revision is no longer
        kept, or something it needs was not recorded.
        """
        running = self._plans.running(row.flow_id)
        if running is None:
            raise Conflict("the flow is not running: start it, then play the execution again")
        if running.starting:
            raise Conflict("the flow is starting: wait until it runs, then play the execution again")
        former = self._former(running, row.revision)
        if not newest and former is None:
            raise BadRequest(f"revision {row.revision} of the flow is no longer kept; use the newest")
        plan = running.plan if newest or former is None else former
        plans = [running.plan] if former is None else [former, running.plan]
        start = component_id or row.trigger
        if start is None:
            raise BadRequest("it is not known where the execution began; name a component")
        lineage = Lineage(self._chain(row), plans, self._log_index)
        arrivals = self._linked(lineage.starts(start), start, plan)
        making = _Making(row, running, plan, self._plans, lineage, self._log_index, self._payloads, allow_masked)
        return self._begin(row, start, plan, making.messages(arrivals, former, self._clock.now()), by)

    def _former(self, running: RunningFlow, revision: int) -> Plan | None:
        if revision != running.revision and self._documents.get("revisions", f"{running.id}:{revision}") is None:
            return None
        return self._plans.plan(running, revision)

    def _chain(self, row: ExecutionRow) -> list[ExecutionRow]:
        chain = [row]
        while chain[-1].replay_of is not None and len(chain) < LONGEST_CHAIN:
            older = [one for one in self._log_index.execution(chain[-1].replay_of) if one.flow_id == row.flow_id]
            if not older:
                break
            chain.append(older[0])
        return chain

    def _linked(self, arrivals: Sequence[Arrival], start: str, plan: Plan) -> list[Arrival]:
        if not arrivals:
            raise BadRequest(f"nothing that came to or from {start} is in the run log of this execution")
        kept = []
        for arrival in arrivals:
            sent = arrival.sent
            sender = plan.steps.get(sent.component_id) if sent else None
            links = sender.targets.get(sent.port, ()) if sender and sent else ()
            if arrival.component_id in plan.steps and (sent is None or (arrival.component_id, arrival.port) in links):
                kept.append(arrival)
        if not kept:
            raise BadRequest(f"the flow has {start} or its links no longer: nothing would be executed")
        if len(kept) > MOST_MESSAGES:
            raise BadRequest(
                f"{len(kept)} messages came to {start}; at most {MOST_MESSAGES} can be played again at once"
            )
        return kept

    def _begin(self, row: ExecutionRow, start: str, plan: Plan, messages: list[Message], by: str) -> str:
        now = self._clock.now()
        correlation_id = messages[0].correlation_id
        label = plan.steps[start].label if start in plan.steps else start
        line: Doc = {
            "id": new_id(now), "created": now, "severity": "info", "type": "flow", "flowId": row.flow_id,
            "correlationId": correlation_id, REPLAY_OF: row.correlation_id,
            "msg": f"Execution {row.correlation_id} is played again from {label}, by {by}",
        }  # fmt: skip
        counted = [{**accounting(m, "p", now, delta=1), "trigger": start} for m in messages]
        self._bus.settle(None, Settlement(publishes=messages, logs=[line, *counted])).result()
        return correlation_id


class _Making:
    """Of the messages of one replay."""

    def __init__(
        self,
        row: ExecutionRow,
        running: RunningFlow,
        plan: Plan,
        plans: Plans,
        lineage: Lineage,
        log_index: LogIndex,
        payloads: Payloads,
        allow_masked: bool,
    ) -> None:
        self._row = row
        self._allow_masked = allow_masked
        self._running = running
        self._plan = plan
        self._plans = plans
        self._lineage = lineage
        self._log_index = log_index
        self._payloads = payloads

    def messages(self, arrivals: Sequence[Arrival], former: Plan | None, now: int) -> list[Message]:
        passed = [self._passed(arrival, former or self._plan) for arrival in arrivals]
        ids = {arrival.record_id for arrival in arrivals}
        ids.update(sent.record_id for outputs in passed for sent in outputs.values())
        records = contents(self._log_index, self._row.flow_id, sorted(ids))
        values: dict[str, Any] = {}

        def value(record_id: str) -> Any:
            if record_id not in values:
                values[record_id] = self._recorded(records.get(record_id))
            return values[record_id]

        made = []
        correlation_id = new_id(now)
        for arrival, outputs in zip(arrivals, passed, strict=True):
            scope: Scope = {}
            for (component_id, port), sent in outputs.items():
                scope.setdefault(component_id, {})[port] = value(sent.record_id)
            message = self._message(arrival, value(arrival.record_id), scope, now)
            id_ = replayed_id(correlation_id, message.id)
            made.append(self._payloads.detach(replace(message, id=id_, correlation_id=correlation_id)))
        return made

    def _passed(self, arrival: Arrival, former: Plan) -> dict[Output, Sent]:
        """The outputs the message's step, or a later one, can read."""
        step = self._step(arrival)
        way = self._lineage.way(arrival)
        on_way = {(sent.component_id, sent.port): sent for sent in way.outputs.values()}
        if not way.whole:  # it waited for time, a call or other messages: what it had passed before is not told
            on_way = {**self._alone(former, arrival.component_id, step, set(on_way)), **on_way}
        return {output: sent for output, sent in on_way.items() if step.needs is None or output in step.needs}

    def _alone(self, plan: Plan, component_id: str, step: Step, known: set[Output]) -> dict[Output, Sent]:
        earlier = before(plan, component_id)
        found: dict[Output, Sent] = {}
        for output in _emitted(plan, earlier) - known:
            if step.needs is not None and output not in step.needs:
                continue
            sent = self._lineage.outputs(output)
            if len(sent) > 1 and step.needs is not None:
                label = plan.steps[output[0]].label or output[0]
                raise BadRequest(f"{label} sent {len(sent)} times to {output[1]!r}; which came here is not recorded")
            if len(sent) == 1:
                found[output] = sent[0]
        return found

    def _message(self, arrival: Arrival, value: Any, scope: Scope, now: int) -> Message:
        row, sent = self._row, arrival.sent
        step = self._step(arrival)
        message = Message(
            id=arrival.message_id, flow_id=row.flow_id, run=self._running.run, revision=row.revision,
            component_id=arrival.component_id, correlation_id=row.correlation_id, port=arrival.port, content=value,
            scope=scope, created=now, sender_id=sent.component_id if sent else None,
            sender_port=sent.port if sent else None, extra={REPLAY_OF: row.correlation_id},
        )  # fmt: skip
        if self._plan is self._running.plan:
            scope = completed_scope(message, step, self._running, self._plans, self._log_index)
            message = replace(message, revision=self._running.revision)
        return replace(message, scope=trim(scope, step.needs))

    def _step(self, arrival: Arrival) -> Step:
        return self._plan.steps[arrival.component_id]

    def _recorded(self, record: Doc | None) -> Any:
        """What a record says was sent. Raises BadRequest when it does not say all."""
        if record is None:
            raise BadRequest("a record this needs is no longer in the run log")
        if record.get("payload"):
            try:
                return self._payloads.load(record["payload"])
            except NotFound as error:
                raise BadRequest(error.message) from error
        where = f"what passed the port {record.get('port')!r} of {record.get('componentType')}"
        if record.get("masked") and not self._allow_masked:
            raise BadRequest(f"the run log keeps no secrets, so {where} is not whole; allowMasked: true takes it so")
        if record.get("cut"):
            raise BadRequest(f"the run log kept only a part of {where}; the execution cannot be played again from here")
        if not record.get("msg"):
            raise BadRequest(f"the run log does not keep {where}; the execution cannot be played again from here")
        return content(record)


def _emitted(plan: Plan, components: set[str]) -> set[Output]:
    return {(cid, port) for cid in components for port in plan.steps[cid].targets}
