"""Start and stop of flows: stages with a lease, hooks, and what becomes of waiting messages (design.md §4.2)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from engine.compiler import Lookup, Step, check
from engine.errors import BadRequest, Conflict, HeadraceError, NotFound
from engine.model.flow import read_descriptor
from engine.model.message import Message, derived_id, new_id
from engine.ports import Bus, Cache, Clock, Doc, Documents, Query, Settlement, Where, Write
from engine.sdk import Component
from engine.services.accounting import accounting, flow_stopped
from engine.services.context import StepContext
from engine.services.execution import Execution
from engine.services.gather import counts_owner, forget_flow
from engine.services.hooks import within
from engine.services.plans import CHANGED, Plans, RunningFlow
from engine.services.records import as_text, describe, unprocessed
from engine.services.state_view import component_owner, flow_owner
from engine.services.timers import STOPPED, Timers, timer
from engine.services.toolbox import Toolbox
from engine.values.template import Frame

log = logging.getLogger(__name__)

HOOK_TRIES = 3
"""How often the stop hooks of a flow are called anew after the process died in the middle."""

LEASE_MS = 600_000

HOOK_SECONDS = 120.0
"""How long one start or stop hook may take: services answer it within seconds, and people wait for it."""

KEPT_ON_STOP = 10_000
"""Waiting messages of a stopped flow that become unprocessed messages; beyond it only their number is kept."""


@dataclass(slots=True)
class Lifecycle:
    documents: Documents
    bus: Bus
    cache: Cache
    clock: Clock
    plans: Plans
    timers: Timers
    tools: Toolbox
    lookup: Lookup
    execution: Execution
    spawn: Callable[[Callable[[], None]], None]
    polling_ms: int
    hook_seconds: float = HOOK_SECONDS
    _at_work: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    # -- start

    def start(self, flow_id: str) -> dict[str, str]:
        """→ {flowId, ticket}. Starting a running flow changes nothing.

        Raises NotFound; BadRequest with `details` naming every component that is not ready, or the
        component whose start hook failed; Conflict while another start or stop is under way.
        """
        record = self.plans.require_record(flow_id)
        ticket = {"flowId": flow_id, "ticket": new_id()}
        if record.get("stage") == "running":
            return ticket
        self._refuse_unready(record)
        now = self.clock.now()
        # a run number never repeats, even when a flow is started twice within a millisecond
        run = max(now, (record.get("run") or 0) + 1)
        claim = {"stage": "starting", "run": run, "lease": now + LEASE_MS}
        if not self._claim(flow_id, claim, "stopped"):
            raise Conflict(f"flow {flow_id} is {self._stage(flow_id)}; wait until that has finished")
        try:
            self._start(flow_id, now)
        finally:
            self._at_work.discard(flow_id)
        return ticket

    def _claim(self, flow_id: str, changes: Doc, *stages: str) -> bool:
        """Make the start or stop of a flow this call's work; False while another call is at it."""
        with self._lock:
            if flow_id in self._at_work:
                return False
            self._at_work.add(flow_id)
        claimed = False
        try:
            claimed = self.documents.update("flows", flow_id, changes, [Where("stage", "in", list(stages))])
        finally:
            if not claimed:
                self._at_work.discard(flow_id)
        return claimed

    def _start(self, flow_id: str, now: int) -> None:
        record = self.plans.require_record(flow_id)
        self.cache.publish(CHANGED, flow_id)
        running = self._prepared(record)
        settlement = Settlement()
        started: list[Step] = []
        try:
            self._refuse_unready(record)  # it may have been saved since it was checked
            running = self.plans.prepare(record)
            for step in running.plan.steps.values():
                self._hook("start", running, step, settlement)
                started.append(step)
            settlement.writes.extend(self._ticks(running))
            settlement.logs.extend(accounting(m, "p", now, delta=1) for m in settlement.publishes)
            settlement.logs.append(self._log_line(running, "Flow started"))
            self.bus.settle(None, settlement).result()
        except Exception as error:
            self._roll_back(running, started, error)
            raise self._start_error(error) from error
        running_now = {"stage": "running", "started": now, "ran": record.get("revision"), "lease": None}
        self.documents.update("flows", flow_id, running_now)
        self.cache.publish(CHANGED, flow_id)

    def _stage(self, flow_id: str) -> str:
        return str((self.documents.get("flows", flow_id) or {}).get("stage", "gone"))

    def _refuse_unready(self, record: Doc) -> None:
        descriptor = read_descriptor(record.get("flow") or {})
        if not descriptor.steps:
            raise BadRequest(f"flow {record['_id']} has no components, so there is nothing to start")
        wrong = check(descriptor, self.lookup, record.get("accounts") or {})
        if wrong:
            raise BadRequest(wrong[0].message, code="FLOW_INVALID", details=[p.to_json() for p in wrong])

    def _start_error(self, error: Exception) -> HeadraceError:
        if isinstance(error, HeadraceError) and not isinstance(error, NotFound) and error.status != 422:
            return error
        return BadRequest(f"the flow did not start: {describe(error)['message']}", code="START_FAILED")

    def _roll_back(self, running: RunningFlow, started: list[Step], error: Exception) -> None:
        """Stop what had started, and say in the run log why (engine.md §3 "On throw")."""
        settlement = Settlement()
        for step in reversed(started):
            self._stop_hook(running, step, settlement)
        text = f"Flow did not start: {describe(error)['message']}"
        settlement.logs.append({**self._log_line(running, text), "severity": "error", "err": as_text(describe(error))})
        settlement.logs.append(flow_stopped(running.id, running.run, self.clock.now(), "flow did not start"))
        settlement.publishes.clear()
        self.bus.settle(None, settlement).result()
        self._clean(running)
        self.documents.update("flows", running.id, {"stage": "stopped", "lease": None})
        self.cache.publish(CHANGED, running.id)

    def _hook(self, hook: str, running: RunningFlow, step: Step, settlement: Settlement) -> None:
        """Call a hook, if the component has one; what it sends is held until all hooks have run."""
        if step.disabled or getattr(type(step.behaviour), hook) is getattr(Component, hook):
            return
        now = self.clock.now()
        correlation = new_id(now)
        message = Message(
            derived_id(correlation, hook, step.id), running.id, running.run, running.revision, step.id, correlation,
            hook, None, {}, now, kind="start",
        )  # fmt: skip
        properties = step.properties.evaluate(Frame({}, running.variables, message.id, now, step.id))
        context = StepContext(self.tools, running, step, message, {}, properties)
        work = partial(getattr(step.behaviour, hook), context)
        try:
            within(self.hook_seconds, work, f"{hook} hook of {step.label}")
        except Exception as error:
            self._log_failure(running, step, hook, error, settlement)
            raise
        outcome = self.execution.collect(running, step, message, context.result)
        settlement.publishes.extend(outcome.publishes)
        settlement.logs.extend(outcome.logs)
        settlement.writes.extend(outcome.writes)

    def _log_failure(
        self, running: RunningFlow, step: Step, hook: str, error: Exception, settlement: Settlement
    ) -> None:
        described = describe(error, step)
        line = self._log_line(running, f"{hook} of {step.label} failed: {described['message']}")
        settlement.logs.append(
            {
                **line, "severity": "error", "err": as_text(described),
                "componentId": step.id, "componentType": step.type,
            }
        )  # fmt: skip

    def _ticks(self, running: RunningFlow) -> list[Write]:
        now = self.clock.now()
        writes = []
        for step in running.plan.steps.values():
            if not step.manifest.tick or step.disabled:
                continue
            key = derived_id(new_id(now), "tick", step.id)
            message = Message(
                key, running.id, running.run, running.revision, step.id, key, "tick", None, {}, now, kind="tick"
            )
            # the first tick comes at once: most components record their baseline in it
            writes.append(timer(key, "tick", now, message, every=self.polling_ms))
        return writes

    def _log_line(self, running: RunningFlow, text: str) -> Doc:
        now = self.clock.now()
        return {
            "id": new_id(now), "created": now, "severity": "info", "type": "flow", "flowId": running.id, "msg": text,
        }  # fmt: skip

    # -- stop

    def stop(self, flow_id: str, *, background: bool = False) -> dict[str, str]:
        """→ {flowId, ticket}. No step of the run begins once this has returned; stopping twice is harmless."""
        record = self.plans.require_record(flow_id)
        ticket = {"flowId": flow_id, "ticket": flow_id if background else new_id()}
        if record.get("stage") == "stopped":
            return ticket
        # a flow that is stopping though nobody is at it was left there by a fault (a full disk): go on
        if not self._claim(flow_id, self._stopping(), "running", "stopping"):
            if self._stage(flow_id) == "stopped":
                return ticket
            raise Conflict(f"flow {flow_id} is {self._stage(flow_id)}; wait until that has finished")
        self.cache.publish(CHANGED, flow_id)
        if background:
            self.spawn(lambda: self._finish_stop(record))
        else:
            self._finish_stop(record)
        return ticket

    def _stopping(self) -> Doc:
        return {"stage": "stopping", "lease": self.clock.now() + LEASE_MS}

    def _finish_stop(self, record: Doc) -> None:
        try:
            self._stop(record)
        finally:
            self._at_work.discard(record["_id"])

    def _stop(self, record: Doc) -> None:
        running = self._prepared(record)
        settlement = Settlement()
        for step in running.plan.steps.values():
            self._stop_hook(running, step, settlement)
        settlement.publishes.clear()
        self._keep_waiting(running, settlement)
        settlement.logs.append(self._log_line(running, "Flow stopped"))
        settlement.logs.append(flow_stopped(running.id, running.run, self.clock.now(), STOPPED["message"]))
        self.bus.settle(None, settlement).result()
        self._clean(running)
        self.documents.update(
            "flows", running.id, {"stage": "stopped", "stopped": self.clock.now(), "lease": None, "resumes": None}
        )
        self.cache.publish(CHANGED, running.id)

    def _prepared(self, record: Doc) -> RunningFlow:
        """A flow that can no longer be compiled (a connector was removed) still has to stop."""
        try:
            return self.plans.prepare(record)
        except HeadraceError as error:
            log.warning("flow %s stops without hooks: %s", record["_id"], error, extra={"action": "stop_without_hooks"})
            return self.plans.prepare({**record, "flow": {}})

    def _stop_hook(self, running: RunningFlow, step: Step, settlement: Settlement) -> None:
        try:
            self._hook("stop", running, step, settlement)
        except Exception as error:  # noqa: BLE001 - engine.md §3: a failing stop hook is logged and the stop goes on
            log.info("stop hook failed: %s", error, extra={"action": "stop_hook_failed", "componentId": step.id})

    def _keep_waiting(self, running: RunningFlow, settlement: Settlement) -> None:
        now = self.clock.now()
        reason = STOPPED["message"]

        def keep(waiting: Sequence[Message]) -> list[Write]:
            return [unprocessed(m, running.user_id, now, STOPPED, m.content) for m in waiting if m.kind != "tick"]

        messages, count = self.bus.remove(running.id, KEPT_ON_STOP, keep)
        held, more = self.timers.held(running.id, KEPT_ON_STOP - len(messages))
        settlement.writes.extend(keep(held))
        for m, delta in (*((m, -1) for m in messages), *((m, 0) for m in held)):
            if m.kind != "tick":
                settlement.logs.append(accounting(m, "s", now, delta=delta, unprocessed=1, cancelled=reason))
        dropped = count + more - len(messages) - len(held)
        if dropped:
            text = f"{dropped} more waiting messages were dropped when the flow stopped"
            settlement.logs.append({**self._log_line(running, text), "severity": "error"})

    def _clean(self, running: RunningFlow) -> None:
        """State goes with the run, unless the manifest keeps it (engine.md §2 "state", §5 "Flow control")."""
        for step in running.plan.steps.values():
            if not step.manifest.persistent:
                self.tools.state.drop(component_owner(running.id, step.id))
        forget_flow(self.documents, running.id)
        self.tools.state.drop(flow_owner(running.id))
        self.tools.state.drop(counts_owner(running.id))
        for collection in ("timers", "continuity", "windows", "ledger", "cancelled"):
            self.documents.delete_many(collection, (Where("flowId", "eq", running.id),))
        # nobody will answer these calls any more: their senders may make them again
        self.documents.delete_many("webhook_keys", (Where("flowId", "eq", running.id), Where("open", "eq", 1)))

    # -- after a restart

    def resume(self) -> int:
        """Finish what a process that died, or a fault, left half done. Returns how many flows were put right."""
        half = self.documents.find("flows", Query(where=(Where("stage", "in", ["starting", "stopping"]),)))
        done = 0
        for record in half:
            if not self._claim(record["_id"], self._stopping(), "starting", "stopping"):
                continue
            extra = {"action": "stage_resumed", "flowId": record["_id"]}
            log.warning("flow %s was left %s", record["_id"], record["stage"], extra=extra)
            tries = (record.get("resumes") or 0) + 1
            self.documents.update("flows", record["_id"], {"resumes": tries})
            try:
                # a stop hook that kills its process must not do so at every start
                self._finish_stop(record if tries <= HOOK_TRIES else {**record, "flow": {}})
            except HeadraceError as error:
                log.warning("flow %s cannot be stopped yet: %s", record["_id"], error, extra=extra)
            else:
                done += 1
        return done
