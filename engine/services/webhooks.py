"""Calls from outside: webhooks, sync and async, and messages injected by hand (engine.md §6).

A flow's first steps are executed where the call arrived when nothing foreign is reached on the
way; the caller is answered after everything they caused is durable, and not before. Otherwise the
message goes to the bus and the caller waits for the answer of any step of the execution.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.errors import BadRequest, NotFound, TimedOut
from engine.model.message import Message, derived_id, new_id
from engine.ports import Bus, Cache, Clock, Documents
from engine.services.execution import Execution
from engine.services.outcome import Outcome, Reply
from engine.services.plans import Plans, RunningFlow
from engine.services.publishing import publish

MAX_DEPTH = 50
"""Nested flow or webhook calls into the own installation (design.md §4 "Bounds")."""

REPLY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """A call as `messages.webhook.content` shows it; `data` is parsed JSON, form fields, or text."""

    method: str
    hostname: str
    headers: Mapping[str, str]
    query: Mapping[str, Any]
    data: Any
    correlation_id: str | None = None
    enqueue_only: bool = False
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Answered:
    reply: Reply
    correlation_id: str


class Replies:
    """Who waits for the answer to which execution, and how many of its messages are still to run.

    Answers travel through the Cache (`reply:<correlation id>`), so the step that answers and the
    waiting call may be in different processes.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._waiting: dict[str, threading.Event] = {}
        cache.subscribe("replies", self._wake)

    def _wake(self, correlation_id: str) -> None:
        if (event := self._waiting.get(correlation_id)) is not None:
            event.set()

    def expect(self, correlation_id: str) -> None:
        self._waiting[correlation_id] = threading.Event()
        self._cache.set(f"awaited:{correlation_id}", 1, REPLY_SECONDS)

    def wait(self, correlation_id: str, seconds: float) -> Reply | None:
        """The answer, or None when there was none in time."""
        try:
            self._waiting[correlation_id].wait(seconds)
            found = self._cache.get(f"reply:{correlation_id}")
            return Reply(found["status"], found["body"], found["headers"]) if found else None
        finally:
            del self._waiting[correlation_id]
            self._cache.delete(f"awaited:{correlation_id}")

    def settled(self, message: Message, outcome: Outcome) -> None:
        """Called after each settlement: hand over the answer, or tell that none will come."""
        cid = message.correlation_id
        if self._cache.get(f"awaited:{cid}") is None:
            return
        if outcome.reply is not None:
            self._answer(cid, outcome.reply)
        open_ = len(outcome.publishes) + outcome.waits - 1
        left = self._cache.incr(f"open:{cid}", open_, REPLY_SECONDS)
        if left <= -1:  # the first message was counted by nobody: it is the minus one
            self._answer(cid, Reply(204))

    def _answer(self, correlation_id: str, reply: Reply) -> None:
        if self._cache.get(f"reply:{correlation_id}") is None:
            self._cache.set(f"reply:{correlation_id}", reply.to_json(), REPLY_SECONDS)
            self._cache.publish("replies", correlation_id)


class Webhooks:
    def __init__(
        self,
        *,
        documents: Documents,
        bus: Bus,
        clock: Clock,
        plans: Plans,
        execution: Execution,
        replies: Replies,
        after: Callable[[Message, Outcome], None],
        timeout: float,
        inline: bool,
    ) -> None:
        self._documents = documents
        self._bus = bus
        self._clock = clock
        self._plans = plans
        self._execution = execution
        self._replies = replies
        self._after = after
        self._timeout = timeout
        self._inline = inline

    def accept(self, flow_id: str, component_id: str, request: WebhookRequest) -> Answered:
        """Deliver a call to a component and return the answer.

        Raises NotFound (no such flow or component, flow stopped, no webhook there), TimedOut when no
        step answered in time (the execution goes on), Unavailable when the message cannot be stored.
        """
        running = self._running(flow_id)
        step = running.plan.steps.get(component_id)
        if step is None:
            raise NotFound(f"flow {flow_id} has no component {component_id}")
        message = self._message(running, component_id, request)
        if request.enqueue_only or step.manifest.webhook_async:
            publish(self._bus, self._clock, [message])
            return Answered(Reply(202, {}), message.correlation_id)
        if self._inline and component_id in running.plan.inline and running.max_concurrency is None:
            return self._run_here(message)
        self._replies.expect(message.correlation_id)
        publish(self._bus, self._clock, [message])
        return self._wait(message)

    def _running(self, flow_id: str) -> RunningFlow:
        running = self._plans.running(flow_id)
        if running is None:
            record = self._documents.get("flows", flow_id)
            if record is None:
                raise NotFound(f"there is no flow {flow_id}")
            raise NotFound(f"flow {flow_id} is {record.get('stage', 'stopped')}: start it first", code="FLOW_STOPPED")
        return running

    def _message(self, running: RunningFlow, component_id: str, request: WebhookRequest) -> Message:
        if request.depth >= MAX_DEPTH:
            raise BadRequest(f"more than {MAX_DEPTH} nested webhook calls: the flows call each other in a circle")
        now = self._clock.now()
        key = new_id(now)
        scope: dict[str, dict[str, Any]] = {}
        if request.correlation_id:
            place = f"{running.id}:{request.correlation_id}:{component_id}"
            kept = self._documents.get("continuity", place)
            if kept and not kept.get("called"):  # its execution waits for this call no longer
                self._documents.update("continuity", place, {"called": now})
            scope = kept["scope"] if kept else {}
        content = {
            "method": request.method,
            "hostname": request.hostname,
            "headers": request.headers,
            "query": request.query,
            "data": request.data,
        }
        return Message(
            key, running.id, running.run, running.revision, component_id, request.correlation_id or key, "webhook",
            content, scope, now, kind="webhook", depth=request.depth,
        )  # fmt: skip

    def _run_here(self, message: Message) -> Answered:
        outcome = self._execution.run(message, external=0, consumed=0)
        if outcome.reply is None and not outcome.ended:
            self._replies.expect(message.correlation_id)
        self._bus.settle(None, outcome.settlement()).result()
        self._after(message, outcome)
        if outcome.reply is not None:
            return Answered(outcome.reply, message.correlation_id)
        if outcome.ended:
            return Answered(Reply(204), message.correlation_id)
        return self._wait(message)

    def _wait(self, message: Message) -> Answered:
        reply = self._replies.wait(message.correlation_id, self._timeout)
        if reply is None:
            raise TimedOut(
                f"no step answered within {self._timeout:g} seconds; the execution {message.correlation_id} goes on",
                details=[{"correlationId": message.correlation_id}],
            )
        return Answered(reply, message.correlation_id)

    def inject(self, flow_id: str, component_id: str, port: str, content: Any) -> str:
        """Publish a message to an in port as if a step had sent it. Returns its correlation id.

        Raises NotFound, and BadRequest when the component has no such in port.
        """
        running = self._running(flow_id)
        step = running.plan.steps.get(component_id)
        if step is None:
            raise NotFound(f"flow {flow_id} has no component {component_id}")
        if step.manifest.in_port(port) is None:
            raise BadRequest(f"{step.type} has no in port {port!r}")
        now = self._clock.now()
        key = new_id(now)
        message = Message(key, running.id, running.run, running.revision, component_id, key, port, content, {}, now)
        publish(self._bus, self._clock, [message])
        return key


def notification(plans: Plans, clock: Clock, notice: Mapping[str, Any]) -> Message | None:
    """A webhook message made by the platform itself (a store changed); None when the flow is not running.

    `notice` is {flowId, componentId, content, eventId}; an event told again makes the same message.
    """
    component_id = notice["componentId"]
    running = plans.running(notice["flowId"])
    if running is None or component_id not in running.plan.steps:
        return None
    now = clock.now()
    key = derived_id(notice["eventId"], component_id)
    body = {"method": "POST", "hostname": "", "headers": {}, "query": {}, "data": notice["content"]}
    return Message(
        key, running.id, running.run, running.revision, component_id, key, "webhook", body, {}, now, kind="webhook"
    )
