"""Calls from outside: webhooks, sync and async, and messages injected by hand (engine.md §6).

A flow's first steps are executed where the call arrived when nothing foreign is reached on the
way; the caller is answered after everything they caused is durable, and not before. Otherwise the
message goes to the bus and the caller waits for the answer of any step of the execution.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import IO, Any

from engine.errors import BadRequest, HeadraceError, NotFound, TimedOut
from engine.model.message import CALL, Message, content_json, derived_id, new_id
from engine.ports import Bus, Clock, Doc, Documents
from engine.rules.webhook_settings import DEFAULT, WebhookSettings, settings_or_broken
from engine.services.execution import Execution
from engine.services.files import FileService
from engine.services.outcome import Outcome, Reply
from engine.services.payloads import REFS
from engine.services.plans import Plans, RunningFlow
from engine.services.publishing import publish
from engine.services.repetitions import Repetitions
from engine.services.replies import Answered, Replies, Waiter
from engine.services.timers import STOPPED
from engine.services.watch import Watch, stopped
from engine.services.webhook_keys import WebhookKeys, key_of
from engine.values.paths import compile_path
from engine.values.template import Frame

MAX_DEPTH = 50
"""Nested flow or webhook calls into the own installation (design.md §4 "Bounds")."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file in a call's data. It is stored once the call is accepted; its record then stands in its place."""

    filename: str
    content_type: str
    content: IO[bytes]


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """A call as `messages.webhook.content` shows it; `data` is parsed JSON, form fields, or text.

    With `files`, `data` is an Upload, or values of its fields are. `more` are further fields of the
    content (rawBody, claims).
    """

    method: str
    hostname: str
    headers: Mapping[str, str]
    query: Mapping[str, Any]
    data: Any
    correlation_id: str | None = None
    enqueue_only: bool = False
    depth: int = 0
    files: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Door:
    """Where calls to one component of a running flow come in; `settings` say who may call, and how."""

    running: RunningFlow
    component_id: str
    inline: bool
    enqueue: bool
    settings: WebhookSettings


@dataclass(frozen=True, slots=True)
class Call:
    """An accepted call: its message, the key that tells repetitions of it, the files that came with it."""

    message: Message
    key: str | None
    saved: list[str]

    @property
    def fresh(self) -> bool:
        """Whether it begins an execution, and does not come back to one."""
        return self.message.id == self.message.correlation_id


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
        keys: WebhookKeys,
        repetitions: Repetitions,
        files: FileService,
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
        self._keys = keys
        self._repetitions = repetitions
        self._files = files
        self._after = after
        self._timeout = timeout
        self._inline = inline

    def door(self, flow_id: str, component_id: str) -> Door:
        """Raises NotFound (no such flow or component, flow stopped, a component without webhook)."""
        running = self._running(flow_id)
        door: Door | None = running.doors.get(component_id)
        if door is None:
            door = running.doors[component_id] = self._open(running, component_id)
        return door

    def _open(self, running: RunningFlow, component_id: str) -> Door:
        step = running.plan.steps.get(component_id)
        if step is None:
            raise NotFound(f"flow {running.id} has no component {component_id}")
        if not step.manifest.webhook:  # its address is not enabled (engine.md §2 "webhook")
            raise NotFound(f"{step.label} ({component_id}) takes no webhook calls")
        settings = DEFAULT
        if step.manifest.webhook_settings:
            frame = Frame({}, running.variables, component_id, self._clock.now(), component_id)
            settings = settings_or_broken(step.properties.evaluate(frame))
        inline = self._inline and step.inline and running.max_concurrency is None
        return Door(running, component_id, inline, step.manifest.webhook_async, settings)

    def accept(self, flow_id: str, component_id: str, request: WebhookRequest) -> Answered:
        """`enter` by the door of that component. Its check is not made: the caller is known otherwise."""
        return self.enter(self.door(flow_id, component_id), request)

    def enter(self, door: Door, request: WebhookRequest) -> Answered:
        """Deliver a call and return the answer.

        Raises NotFound (the flow was stopped meanwhile), BadRequest, TooLarge, TimedOut when no step
        answered in time (the execution goes on), Unavailable when the message cannot be stored.
        """
        if not door.running.active:  # stopped or saved while the body was on its way
            door = self.door(door.running.id, door.component_id)
        _check_depth(request.depth)
        key = _key(door, request)
        if key is None:
            return self._run(door, request, None)
        return self._repetitions.once(key, self._timeout, lambda: self._run(door, request, key))

    def _running(self, flow_id: str) -> RunningFlow:
        running = self._plans.running(flow_id)
        if running is None:
            record = self._documents.get("flows", flow_id)
            if record is None:
                raise NotFound(f"there is no flow {flow_id}")
            raise NotFound(f"flow {flow_id} is {record.get('stage', 'stopped')}: start it first", code="FLOW_STOPPED")
        return running

    # -- running

    def _run(self, door: Door, request: WebhookRequest, key: str | None) -> Answered:
        call = self._call(door, request, key)
        cid = call.message.correlation_id
        if request.enqueue_only or door.enqueue:
            reply = Reply(202, {})
            self._publish(call, reply)
            return Answered(reply, cid)
        if door.inline:
            return self._run_here(call)
        with self._waiting(call) as waiter:
            self._publish(call, None)
            return self._wait(waiter, call)

    def _publish(self, call: Call, reply: Reply | None) -> None:
        writes = [self._keys.write(call.key, call.message, reply)] if call.key else []
        try:
            publish(self._bus, self._clock, [call.message], writes=writes)
        except HeadraceError:
            self._discard(call.saved)
            raise

    def _run_here(self, call: Call) -> Answered:
        message = call.message
        try:
            outcome = self._execution.run(message, external=0, consumed=0)
        except HeadraceError:
            self._discard(call.saved)
            raise
        if outcome.cancelled == STOPPED["message"]:
            self._refuse(call, outcome)
        reply = outcome.reply
        if reply is None and outcome.ended and call.fresh:  # what a call comes back to may be answered by others
            reply = Reply(204)
        if call.key:
            outcome.writes.append(self._keys.write(call.key, message, reply))
        outcome.answered = reply is not None
        if reply is not None and not outcome.windowed:
            self._settle(call, outcome)
            return Answered(reply, message.correlation_id)
        with self._waiting(call, begun=outcome.windowed > 0) as waiter:
            self._settle(call, outcome)
            return self._wait(waiter, call) if reply is None else Answered(reply, message.correlation_id)

    def _refuse(self, call: Call, outcome: Outcome) -> None:
        """The flow was stopped. Raises NotFound unless the call has an answer, or something of it still runs."""
        if outcome.steps == 0:  # nothing has happened: as if the call had come later
            self._discard(call.saved)
            raise stopped(call.message.flow_id)
        if outcome.reply is None and outcome.ended:
            self._settle(call, outcome)
            raise stopped(call.message.flow_id)

    def _settle(self, call: Call, outcome: Outcome) -> None:
        try:
            done = self._bus.settle(None, outcome.settlement())
            if not outcome.ended:
                # at once, not when this thread gets its turn: what was published may end before, and be taken for all
                done.add_done_callback(lambda settled: settled.exception() or self._after(call.message, outcome))
            done.result()
        except HeadraceError:
            self._discard(call.saved)
            raise
        if outcome.ended:
            self._after(call.message, outcome)

    def _waiting(self, call: Call, *, begun: bool = False) -> AbstractContextManager[Waiter]:
        message = call.message
        watch = Watch(message, self._bus, self._plans, self._execution.rows)
        cid, flow_id = message.correlation_id, message.flow_id
        return self._replies.waiting(cid, flow_id, fresh=call.fresh, begun=begun, watch=watch)

    def _wait(self, waiter: Waiter, call: Call) -> Answered:
        cid = call.message.correlation_id
        reply = waiter.wait(self._timeout)
        if reply is None:
            self._replies.too_late(cid)
            raise TimedOut(
                f"no step answered within {self._timeout:g} seconds; the execution {cid} goes on",
                details=[{"correlationId": cid}],
            )
        if call.key:
            self._keys.close(call.key, reply)
        return Answered(reply, cid)

    # -- the message

    def _call(self, door: Door, request: WebhookRequest, key: str | None) -> Call:
        running = door.running
        now = self._clock.now()
        message_id = new_id(now)
        scope: dict[str, dict[str, Any]] = {}
        extra: dict[str, Any] = {}
        cid = message_id
        # a caller may go on with an execution that waits for it, but not take part in any other
        if request.correlation_id and (kept := self._awaited(door, request.correlation_id, now)) is not None:
            cid, scope = request.correlation_id, kept["scope"]
            extra = {CALL: message_id, **({REFS: {"scope": kept["payloads"]}} if kept.get("payloads") else {})}
        saved: list[str] = []
        content = {
            "method": request.method,
            "hostname": request.hostname,
            "headers": request.headers,
            "query": request.query,
            "data": self._stored(request.data, running, message_id, saved) if request.files else request.data,
        }
        if request.more:
            content.update(request.more)
        message = Message(
            message_id, running.id, running.run, running.revision, door.component_id, cid, "webhook",
            content, scope, now, kind="webhook", depth=request.depth,
            extra=extra,
        )  # fmt: skip
        return Call(message, key, saved)

    def _awaited(self, door: Door, correlation_id: str, now: int) -> Doc | None:
        """What is kept of an execution that has handed out this address, None if there is none."""
        place = f"{door.running.id}:{correlation_id}:{door.component_id}"
        kept = self._documents.get("continuity", place)
        if kept is None:
            return None
        if not kept.get("called"):  # its execution waits for this call no longer
            self._documents.update("continuity", place, {"called": now})
        return kept

    def _stored(self, data: Any, running: RunningFlow, message_id: str, saved: list[str]) -> Any:
        """`data` with the records of files in the place of files, which are the flow's owner's now."""
        if isinstance(data, dict):
            return {name: self._stored(value, running, message_id, saved) for name, value in data.items()}
        if isinstance(data, list):
            return [self._stored(value, running, message_id, saved) for value in data]
        if not isinstance(data, Upload):
            return data
        file_id = derived_id(message_id, "file", len(saved))
        try:
            record = self._files.receive(
                running.user_id, running.id, data.filename, data.content_type, data.content, file_id
            )
        except HeadraceError:
            self._discard(saved)
            raise
        saved.append(file_id)
        return record.to_json()

    def _discard(self, saved: list[str]) -> None:
        """The call is refused: its sender will make it again, with the same files."""
        for file_id in saved:
            self._files.discard(file_id)

    def inject(self, flow_id: str, component_id: str, port: str, content: Any, depth: int = 0) -> str:
        """Publish a message to an in port as if a step had sent it. Returns its correlation id.

        Raises NotFound, and BadRequest when the component has no such in port.
        """
        _check_depth(depth)
        running = self._running(flow_id)
        step = running.plan.steps.get(component_id)
        if step is None:
            raise NotFound(f"flow {flow_id} has no component {component_id}")
        if step.manifest.in_port(port) is None:
            raise BadRequest(f"{step.type} has no in port {port!r}")
        try:
            content_json(content)
        except TypeError as error:
            raise BadRequest(f"content: cannot be sent: {error}") from error
        now = self._clock.now()
        key = new_id(now)
        message = Message(
            key, running.id, running.run, running.revision, component_id, key, port, content, {}, now, depth=depth
        )
        publish(self._bus, self._clock, [message])
        return key


def _check_depth(depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise BadRequest(f"more than {MAX_DEPTH} nested webhook calls: the flows call each other in a circle")


def _key(door: Door, request: WebhookRequest) -> str | None:
    settings = door.settings
    if settings.key_header:
        value = request.headers.get(settings.key_header)
    elif settings.key_path:
        value = compile_path(settings.key_path)(request.data)
    else:
        return None
    return None if value is None else key_of(door.running.id, door.component_id, request.correlation_id, value)


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
