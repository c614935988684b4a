"""`sdk.Context` as the engine gives it to a component: one object per call of a hook."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson

from engine.compiler import Step
from engine.errors import StepError, Unavailable
from engine.model.flow import Descriptor, read_descriptor
from engine.model.log import LogQuery
from engine.model.message import Message, content_json, derived_id, first_id, inherited
from engine.model.times import from_iso, to_datetime
from engine.ports import Http, Write
from engine.rules.links import ERROR_PORT
from engine.sdk import Gather, Incoming, Link, StateView, Stores
from engine.services.gather import DocumentGather
from engine.services.locking import LOCK_UNTIL, extend, take
from engine.services.outcome import CallResult, Emission, Reply
from engine.services.own_calls import MarkedHttp
from engine.services.payloads import REFS
from engine.services.plans import RunningFlow
from engine.services.records import as_text, not_sent
from engine.services.state_view import OwnedState, TickState, component_owner, flow_owner
from engine.services.step_files import StepFiles
from engine.services.timers import timer
from engine.services.windows import WINDOW, WINDOW_BYTES, Windows

if TYPE_CHECKING:
    from engine.services.toolbox import Toolbox

CONTINUITY_DAYS = 100

OUTPUTS = 4
"""How many times the largest output a call may send in all, unless it is made again after a crash."""

REPLY_BYTES = 10 * 1024 * 1024
"""Largest answer to a webhook call: it is kept for a while, with others like it."""

FOREVER = 1_000_000
"""A call back may come or not: its execution is never taken for ended."""


class StepContext(StepFiles):
    """Cheap to make: what few components use is computed when asked for."""

    def __init__(
        self,
        tools: Toolbox,
        running: RunningFlow,
        step: Step,
        message: Message,
        messages: Mapping[str, Incoming],
        properties: Mapping[str, Any],
        windows: Windows | None = None,
        again: bool = False,
    ) -> None:
        self._tools = tools
        self._running = running
        self._step = step
        self._message = message
        self.messages = messages
        self.properties = properties
        self.message_id = message.id
        self.correlation_id = message.correlation_id
        self.component_id = step.id
        self.component_type = step.type
        self.component_label = step.label
        self.flow_id = running.id
        self.flow_name = running.variables.flow_name
        self.user_id = running.user_id
        self.scope = message.scope
        self.api_url: str = tools.api_url
        self.result = CallResult()
        self._windows = windows
        self._again = again
        self._touched = False  # whether something was done that a second call would do twice
        self._max_wait: int | None = None
        self._ordinal = 0
        self._random: random.Random | None = None

    # -- who and what

    @property
    def signal_content(self) -> Any:
        return self._message.content if self._message.kind == "signal" else None

    @property
    def http(self) -> Http:
        self._touched = True
        return MarkedHttp(self._tools.http, self.api_url, self._message.depth)

    @property
    def custom_fields(self) -> Mapping[str, Any]:
        return self._running.variables.custom_fields

    @cached_property
    def auth(self) -> Mapping[str, Any]:
        service = self._step.manifest.auth_service
        account_id = self._running.accounts.get(self._step.id)
        if not service or not account_id:
            return {**self.config, "userId": self.user_id}
        return {**self.config, **self._tools.accounts.resolve(account_id, self.user_id), "userId": self.user_id}

    @property
    def profile_info(self) -> Mapping[str, Any]:
        profile = self.auth.get("profileInfo")
        return profile if isinstance(profile, Mapping) else {}

    @property
    def config(self) -> Mapping[str, Any]:
        service = self._step.manifest.auth_service or ":".join(self._step.type.split(".")[:2])
        return self._tools.service_config(service)

    @property
    def flow_descriptor(self) -> Mapping[str, Any]:
        record = self._tools.documents.get("flows", self.flow_id) or {}
        return record.get("flow") or {}

    @property
    def descriptor(self) -> Descriptor:
        return read_descriptor(self.flow_descriptor)

    # -- state

    def _operation(self, *parts: object) -> str:
        self._ordinal += 1
        return ":".join((self.message_id, str(self._ordinal), *map(str, parts)))

    @property
    def state(self) -> StateView:
        owner = component_owner(self.flow_id, self.component_id)
        if self._message.kind == "tick":
            return TickState(self._tools.state, owner, self._operation, self.result.states)
        return OwnedState(self._tools.state, owner, self._operation)

    @property
    def flow_state(self) -> StateView:
        return OwnedState(self._tools.state, flow_owner(self.flow_id), self._operation)

    @property
    def service_state(self) -> StateView:
        return OwnedState(self._tools.state, f"service:{self._step.manifest.app}", self._operation)

    @property
    def stores(self) -> Stores:
        return self._tools.stores.view(self.user_id, self.flow_id, self.component_id, self._operation)

    # -- output

    def send(self, content: Any, port: str, *, scope: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        if self._step.manifest.out_port(port) is None and port != ERROR_PORT:
            raise StepError(
                f"{self.component_type} emitted to an unknown port {port!r}", code="UNKNOWN_PORT", retryable=False
            )
        try:
            encoded = content_json(content)
        except TypeError as error:
            message = f"{self.component_type} emitted something that is not JSON on port {port!r}: {error}"
            raise StepError(message, code="NOT_JSON", retryable=False) from error
        self._check_size(len(encoded), port)
        if self._step.external or not self._step.trusted:
            content = orjson.loads(encoded)  # plain JSON for the ledger, and nothing a connector may still change
        replaced = {cid: dict(ports) for cid, ports in scope.items()} if scope is not None else None
        result = self.result
        result.sent += 1
        if self._windows is not None and result.sent <= self._windows.skip:
            return  # made durable before the process died
        if self._windows is not None and result.emissions and result.size + len(encoded) > WINDOW_BYTES:
            result.sent -= 1
            self._windows.flush(result)
            result.sent += 1
        result.size += len(encoded)
        result.emissions.append(Emission(port, content, encoded.decode(), replaced))
        if self._windows is not None and len(result.emissions) >= WINDOW:
            self._windows.flush(result)

    def _check_size(self, size: int, port: str) -> None:
        """Of one output, and of all outputs of a call that is not made again, which are therefore kept together."""
        most = self._tools.output_bytes
        what = ""
        if size > most:
            what = f"{size} bytes on port {port!r}; an output may have at most {most}"
        elif self._windows is None and self.result.size + size > OUTPUTS * most:
            what = f"more than {OUTPUTS * most} bytes in one call"
        if what:
            text = f"{self.component_type} emitted {what} (HEADRACE_OUTPUT_BYTES): save it as a file and send its id"
            raise StepError(text, code="OUTPUT_TOO_LARGE", retryable=False)

    def send_array(self, items: Iterable[Any], port: str) -> None:
        for item in items:
            self.send(item, port)

    def respond(self, body: Any = None, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        if not isinstance(status, int) or not 100 <= status <= 599:
            raise StepError(
                f"a response needs a status between 100 and 599, not {status!r}", code="BAD_STATUS", retryable=False
            )
        size = len(body) if isinstance(body, str) else len(as_text(body)) if body else 0
        if size > REPLY_BYTES:
            text = f"an answer may have at most {REPLY_BYTES} bytes, not {size}: answer with the address of a file"
            raise StepError(text, code="ANSWER_TOO_LARGE", retryable=False)
        if self.result.reply is not None:
            self.log(not_sent(self._step, status), level="warning")
        else:
            self.result.reply = Reply(status, body, {str(k): str(v) for k, v in (headers or {}).items()})

    def log(self, content: Any, *, level: str = "info") -> None:
        self.result.log_lines.append((level, content))

    def send_signal(self, content: Any) -> None:
        self.result.signals.append(content)

    # -- time

    def now(self) -> datetime:
        return to_datetime(self._tools.clock.now())

    def set_timeout(self, content: Any, milliseconds: float, *, name: str | None = None) -> str:
        now = self._tools.clock.now()
        timeout_id = derived_id(self.message_id, "timeout", self._operation())
        wait = max(round(milliseconds), self._tools.min_timeout_ms)
        correlation_id = self.correlation_id
        if not self._step.manifest.in_ports and self._message.kind in ("start", "timeout", "tick"):
            correlation_id = first_id(now + wait, timeout_id)  # a trigger begins an execution each time
        message = Message(
            id=timeout_id, flow_id=self.flow_id, run=self._message.run, revision=self._message.revision,
            component_id=self.component_id, correlation_id=correlation_id, port="timeout", content=content,
            scope=dict(self._message.scope), created=now, kind="timeout",
            extra={"timeoutId": timeout_id, **inherited(self._message)},
        )  # fmt: skip
        key = timeout_id if name is None else self._named(name)
        write = timer(key, "timeout", now + wait, self._tools.payloads.detach(message))
        if name is None:
            self.result.writes.append(write)
        elif write.doc is not None:
            self._tools.documents.put("timers", write.doc)
        self.result.waits += 1
        return timeout_id

    def clear_timeout(self, timeout_id: str | None = None, *, name: str | None = None) -> None:
        key = timeout_id if name is None else self._named(name)
        if key:
            self.result.writes.append(Write("timers", key, None))

    def _named(self, name: str) -> str:
        return f"{self.flow_id}:{self.component_id}:{name}"

    def set_max_wait(self, until: datetime | float | str) -> None:
        if isinstance(until, datetime):
            self._max_wait = round(until.astimezone(UTC).timestamp() * 1000)
        elif isinstance(until, str):
            self._max_wait = from_iso(until)
        else:
            self._max_wait = self._tools.clock.now() + round(until)

    def uuid(self) -> str:
        if self._random is None:
            self._random = random.Random(self.message_id)  # noqa: S311 - repeatable on purpose
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    # -- coordination

    @contextmanager
    def lock(
        self, name: str, *, ttl: int = 20_000, retry_delay: int = 200, max_retry_count: int = 30
    ) -> Iterator[Callable[[int], None]]:
        full = f"{self._step.manifest.app}:{name}"
        cache, now = self._tools.cache, self._tools.clock.now
        until = self._message.extra.get(LOCK_UNTIL) or now() + retry_delay * max_retry_count
        owner = take(cache, full, now, ttl, retry_delay, until, may_give_back=lambda: not self._touched)
        try:
            yield lambda ms: extend(cache, full, owner, ms)
        finally:
            cache.unlock(full, owner)

    def gather(self, name: str) -> Gather:
        group = f"{self.flow_id}:{self.component_id}:{name}"
        now = self._tools.clock.now()
        tools = self._tools
        return DocumentGather(tools.documents, tools.state, self.flow_id, group, self._operation, now, self._again)

    def cache_get(self, key: str) -> Any:
        try:
            return self._tools.cache.get(f"static:{key}")
        except Unavailable:
            return None

    def cache_set(self, key: str, value: Any, ttl_ms: int) -> None:
        with suppress(Unavailable):
            self._tools.cache.set(f"static:{key}", value, ttl_ms / 1000)

    # -- the rest of the platform

    def webhook_url(self, *, enqueue_only: bool = False) -> str:
        url = self._running.variables.webhook_url(self.component_id)
        query = []
        if self._message.kind in ("port", "timeout", "webhook"):
            query.append(f"correlationId={self.correlation_id}")
            self._keep_scope()
        if enqueue_only:
            query.append("enqueueOnly=true")
        return url + ("?" + "&".join(query) if query else "")

    def _keep_scope(self) -> None:
        """What the execution has produced so far comes back with the call (engine.md §5 "Continuity scope")."""
        now = self._tools.clock.now()
        expires = self._max_wait or now + round(timedelta(days=CONTINUITY_DAYS).total_seconds() * 1000)
        key = f"{self.flow_id}:{self.correlation_id}:{self.component_id}"
        light = self._tools.payloads.detach(self._message)
        doc = {
            "_id": key, "flowId": self.flow_id, "correlationId": self.correlation_id, "scope": light.scope,
            "payloads": light.extra.get(REFS, {}).get("scope", []), "expires": expires,
        }  # fmt: skip
        # stored at once: the party told of the URL may call before this message is settled
        self._tools.documents.put("continuity", doc)
        self.result.waits += FOREVER

    def call_component(
        self, type: str, port: str, *, properties: Mapping[str, Any] | None = None,
        messages: Mapping[str, Any] | None = None, transform: str | None = None,
    ) -> Any:  # fmt: skip
        return self._tools.components.call(
            type, port, properties=properties, messages=messages, transform=transform,
            user_id=self.user_id, flow_id=self.flow_id, component_id=self.component_id,
        )  # fmt: skip

    def call_api(
        self, path: str, *, method: str = "GET", body: Any = None, query: Mapping[str, Any] | None = None
    ) -> Any:
        self._touched = True
        return self._tools.call_api(self.user_id, path, method, body, query, self._message.depth)

    def run_log(self, *, query: str = "", size: int = 100, search_after: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
        sort = (("gridTimestamp", 1), ("_id", 1))
        page = self._tools.log_index.search(
            LogQuery(query, (self.flow_id,), sort=sort, size=size, search_after=search_after, buckets=False)
        )
        return page.hits

    def add_listener(self, event: str, params: Mapping[str, Any] | None = None) -> None:
        doc = {
            "_id": f"{self.flow_id}:{self.component_id}:{event}", "event": event, "flowId": self.flow_id,
            "componentId": self.component_id, "userId": self.user_id, "params": dict(params or {}),
        }  # fmt: skip
        self._tools.documents.put("listeners", doc)

    def remove_listener(self, event: str) -> None:
        self._tools.documents.delete("listeners", f"{self.flow_id}:{self.component_id}:{event}")

    def links(self) -> list[Link]:
        labels = self.labels()
        step = self.descriptor.steps.get(self.component_id)
        return [
            Link(port, sender, out, labels.get(sender, ""))
            for port, senders in (step.source if step else {}).items()
            for sender, outs in senders.items()
            for out in outs
        ]

    def labels(self) -> Mapping[str, str]:
        return {cid: step.label for cid, step in self._running.plan.steps.items()}

    def manifest(self, type: str) -> Mapping[str, Any] | None:
        return self._tools.components.manifest(type)

    def stop_flow(self) -> None:
        self.result.stop_flow = True

    def eval_javascript(self, code: str, data: Any = None) -> Any:
        from engine.values import javascript

        return javascript.evaluate(code, data)

    def heavy(
        self, work: Callable[[Any], Any], payload: Any = None, *, seconds: float = 60.0, megabytes: int = 256
    ) -> Any:
        return self._tools.children.run(work, payload, seconds=seconds, megabytes=megabytes)
