"""An in-memory `engine.sdk.Context` that records what a component does with it.

    recorder = run("appmixer.utils.controls.Counter", {"item": {}}, properties={"count": 5})
    assert recorder.sent == [("count", {"count": 6})]

It is strict: sending to a port the manifest lacks, or sending what is not JSON, fails the test.
As in the engine, a call that raises has sent nothing, state changes count once per message,
and an id asked for twice by the same message is the same id. Give the same `message_id` again
to play a redelivery; give the same `world` to several recorders to play a flow.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import orjson

from engine.errors import Conflict
from engine.model.flow import Descriptor, read_descriptor
from engine.model.manifest import Manifest, read_manifest
from engine.model.message import derived_id
from engine.sdk import (
    Component,
    Context,
    FileRecord,
    Gather,
    Http,
    Incoming,
    Link,
    LockNotAcquired,
    StateView,
    StepError,
    Stores,
)
from tests.connectors.memory import FakeGather, FakeState, Group, copy
from tests.connectors.world import Timer, World, read_all

ROOT = Path(__file__).parents[2] / "connectors"


def folder(type: str) -> Path:
    return ROOT.joinpath(*type.split("."))


def manifest(type: str) -> Manifest:
    return read_manifest(orjson.loads(folder(type).joinpath("component.json").read_bytes()), type.replace(".", "/"))


def behaviour(type: str) -> Component:
    """Import `connectors.<type>.component` and make the component of the folder's name."""
    module = importlib.import_module(f"connectors.{type}.component")
    component = getattr(module, type.rsplit(".", 1)[-1])()
    assert isinstance(component, Component)
    return component


def transform(type: str, reference: str) -> Callable[[Any], Any]:
    """The function `path#name` of a source's transform, relative to the component's folder."""
    path, name = reference.split("#")
    file = folder(type).joinpath(path).resolve()
    module = importlib.import_module("connectors." + ".".join(file.relative_to(ROOT).parts))
    function: Callable[[Any], Any] = getattr(module, name)
    return function


class Recorder:
    """One component of a flow. `call` runs a hook; what it did is added to the lists below."""

    def __init__(
        self,
        type: str,
        *,
        properties: Mapping[str, Any] | None = None,
        world: World | None = None,
        component_id: str = "c1",
        label: str | None = None,
        flow: Mapping[str, Any] | None = None,
        links: Iterable[Link] = (),
        auth: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.world = world or World()
        self.world.parts.append(self)
        self.own_manifest = manifest(type)
        self.component = behaviour(type)
        self.sent: list[tuple[str, Any]] = []
        self.sent_scopes: list[Mapping[str, Mapping[str, Any]] | None] = []
        self.response: tuple[Any, int, dict[str, str]] | None = None
        self.logs: list[tuple[str, Any]] = []
        self.signals: list[Any] = []
        self.listeners: dict[str, Mapping[str, Any]] = {}
        self.calls: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = []
        self.locked: list[str] = []
        self.log_queries: list[str] = []
        self.stopped = False
        self.max_wait: Any = None
        self.flow = dict(flow or {component_id: {"type": type, "label": label or "", "source": {}}})
        self._links = list(links)
        self._pending: list[Callable[[], None]] = []
        self._ordinal = 0
        # the attributes of a Context
        self.messages: Mapping[str, Incoming] = {}
        self.properties: Mapping[str, Any] = dict(properties or {})
        self.auth: Mapping[str, Any] = {**(config or {}), **(auth or {})}
        self.config: Mapping[str, Any] = dict(config or {})
        self.profile_info: Mapping[str, Any] = {}
        self.message_id = ""
        self.correlation_id = ""
        self.component_id = component_id
        self.component_type = type
        self.component_label = label or ""
        self.flow_id = "flow-1"
        self.flow_name = "A flow"
        self.user_id = "user-1"
        self.custom_fields: Mapping[str, Any] = {}
        self.flow_descriptor: Mapping[str, Any] = self.flow
        self.descriptor: Descriptor = read_descriptor(self.flow)
        self.scope: Mapping[str, Mapping[str, Any]] = {}
        self.signal_content: Any = None
        self.api_url = "https://headrace.test"
        self.state: StateView = FakeState(self.world, f"component:{component_id}", self.next_op)
        self.flow_state: StateView = FakeState(self.world, "flow:flow-1", self.next_op)
        self.service_state: StateView = FakeState(self.world, "service:" + self.own_manifest.app, self.next_op)
        self.stores: Stores = self.world.stores
        self.http: Http = self.world.http

    # -- driving it

    def call(
        self,
        hook: str,
        messages: Mapping[str, Any] | None = None,
        *,
        signal: Any = None,
        message_id: str | None = None,
        correlation_id: str = "correlation-1",
        scope: Mapping[str, Mapping[str, Any]] | None = None,
        dies: bool = False,
    ) -> Recorder:
        """Run one hook. A message that is not an `Incoming` is content from sender `s1`.

        With `dies` the process ends before anything is settled; state changes are durable already.
        """
        self.message_id = message_id or self.world.next_message_id()
        self.correlation_id = correlation_id
        self.scope = dict(scope or {})
        self.signal_content = copy(signal)
        self.messages = {port: self._incoming(content) for port, content in (messages or {}).items()}
        if hook == "receive":
            known = {*(p.name for p in self.own_manifest.in_ports), "webhook", "timeout"}
            assert set(self.messages) <= known, f"{self.component_type} has no in port {set(self.messages) - known}"
        self._ordinal = 0
        self._pending = []
        context: Context = self
        getattr(self.component, hook)(context)
        if not dies:
            self.settle()
        return self

    def settle(self) -> None:
        """Make what the last call did come true."""
        pending, self._pending = self._pending, []
        for effect in pending:
            effect()

    def receive(self, messages: Mapping[str, Any] | None = None, **options: Any) -> Recorder:
        return self.call("receive", messages, **options)

    def start(self) -> Recorder:
        return self.call("start")

    def tick(self, **options: Any) -> Recorder:
        return self.call("tick", **options)

    def stop(self) -> Recorder:
        return self.call("stop")

    def deliver_timeout(self, timer: Timer, message_id: str | None = None) -> None:
        incoming = Incoming(timer.content, timer.content, timer.correlation_id, timer.scope, timeout_id=timer.id)
        self.receive(
            {"timeout": incoming},
            correlation_id=timer.correlation_id,
            scope=timer.scope,
            message_id=message_id or f"fired-{timer.id}",
        )

    def take(self) -> list[tuple[str, Any]]:
        """What was sent since the last `take`."""
        taken, self.sent = self.sent, []
        return taken

    def _incoming(self, content: Any) -> Incoming:
        if isinstance(content, Incoming):
            return content
        return Incoming(copy(content), copy(content), self.correlation_id, self.scope, "s1", "out")

    def next_op(self) -> str:
        self._ordinal += 1
        return f"{self.component_id}:{self.message_id}:{self._ordinal}"

    # -- the Context: output

    def send(self, content: Any, port: str, *, scope: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        assert self.own_manifest.out_port(port), f"{self.component_type} has no out port {port!r}"
        kept = copy(content)

        def effect() -> None:
            self.sent.append((port, kept))
            self.sent_scopes.append(scope)

        self._pending.append(effect)

    def send_array(self, items: Iterable[Any], port: str) -> None:
        for item in items:
            self.send(item, port)

    def respond(self, body: Any = None, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        answer = (body, status, dict(headers or {}))

        def effect() -> None:
            self.response = self.response or answer

        self._pending.append(effect)

    def log(self, content: Any, *, level: str = "info") -> None:
        self.logs.append((level, copy(content)))

    def send_signal(self, content: Any) -> None:
        kept = copy(content)
        correlation_id = self.correlation_id

        def effect() -> None:
            self.signals.append(kept)
            self.world.signals.append((kept, correlation_id))

        self._pending.append(effect)

    # -- time

    def now(self) -> datetime:
        return self.world.now()

    def set_timeout(self, content: Any, milliseconds: float, *, name: str | None = None) -> str:
        timer_id = derived_id(self.message_id, self.next_op(), "timeout")
        due = self.world.now_ms + round(milliseconds)
        timer = Timer(timer_id, due, self.component_id, copy(content), self.correlation_id, self.scope)
        if name is None:
            self._pending.append(lambda: self.world.timers.__setitem__(timer_id, timer))
        else:
            self.world.timers[f"{self.component_id}:{name}"] = timer
        return timer_id

    def clear_timeout(self, timeout_id: str | None = None, *, name: str | None = None) -> None:
        key = timeout_id if name is None else f"{self.component_id}:{name}"

        def effect() -> None:
            self.world.timers.pop(key or "", None)

        self._pending.append(effect)

    def set_max_wait(self, until: datetime | float | str) -> None:
        self.max_wait = until

    def uuid(self) -> str:
        return derived_id(self.message_id, self.next_op(), "uuid")

    # -- files

    def save_file(
        self, filename: str, content: bytes | IO[bytes] | Iterable[bytes], content_type: str | None = None
    ) -> FileRecord:
        file_id = derived_id(self.message_id, self.next_op(), "file")
        return self.world.files.put(file_id, filename, read_all(content), content_type)

    def replace_file(
        self, file_id: str, content: bytes | IO[bytes] | Iterable[bytes], *, expect: str | None = None
    ) -> FileRecord:
        return self._change_file(file_id, lambda old: read_all(content), expect)

    def append_file(self, file_id: str, content: bytes, *, expect: str | None = None) -> FileRecord:
        return self._change_file(file_id, lambda old: old + content, expect)

    def _change_file(self, file_id: str, change: Callable[[bytes], bytes], expect: str | None) -> FileRecord:
        """Once per operation, as the engine does."""
        op = f"file:{file_id}:{self.next_op()}"
        if op not in self.world.results:
            new = change(self.load_file(file_id))
            old = self.world.files.info(file_id)
            if expect not in (None, old.md5):
                raise Conflict(f"file {file_id} was changed by somebody else meanwhile: read it again")
            self.world.results[op] = None
            self.world.files.put(file_id, old.filename, new, old.content_type)
        return self.world.files.info(file_id)

    def file_info(self, file_id: str) -> FileRecord:
        return self.world.files.info(file_id)

    def open_file(self, file_id: str) -> IO[bytes]:
        return self.world.files.open(file_id)

    def load_file(self, file_id: str) -> bytes:
        return self.open_file(file_id).read()

    def remove_file(self, file_id: str) -> dict[str, Any]:
        self.world.files.info(file_id)
        del self.world.files.records[file_id], self.world.files.blobs[file_id]
        return {"fileId": file_id}

    def archive_file(self, file_id: str) -> FileRecord:
        record = self.world.files.info(file_id)
        record.metadata["archived"] = True
        return record

    # -- coordination

    @contextmanager
    def lock(
        self, name: str, *, ttl: int = 20_000, retry_delay: int = 200, max_retry_count: int = 30
    ) -> Iterator[Callable[[int], None]]:
        if name in self.world.locks:
            raise LockNotAcquired(f"lock {name} is taken")
        self.world.locks.add(name)
        self.locked.append(name)
        try:
            yield lambda milliseconds: None
        finally:
            self.world.locks.discard(name)

    def gather(self, name: str) -> Gather:
        group = self.world.groups.setdefault(f"{self.component_id}:{name}", Group())
        return FakeGather(group, self.message_id)

    def cache_get(self, key: str) -> Any:
        value, expires = self.world.cache.get(key, (None, 0))
        return value if expires > self.world.now_ms else None

    def cache_set(self, key: str, value: Any, ttl_ms: int) -> None:
        self.world.cache[key] = (copy(value), self.world.now_ms + ttl_ms)

    # -- the rest of the platform

    def webhook_url(self, *, enqueue_only: bool = False) -> str:
        query = f"?correlationId={self.correlation_id}" if self.messages else "?"
        tail = "&enqueueOnly=true" if enqueue_only else ""
        return f"{self.api_url}/flows/{self.flow_id}/components/{self.component_id}{query}{tail}".rstrip("?")

    def call_component(
        self,
        type: str,
        port: str,
        *,
        properties: Mapping[str, Any] | None = None,
        messages: Mapping[str, Any] | None = None,
        transform: str | None = None,
    ) -> Any:
        self.calls.append((type, port, copy(properties or {}), copy(messages or {})))
        if type not in self.world.static:
            raise StepError(f"there is no component {type}", code="404")
        return self.world.static[type](port, dict(properties or {}), dict(messages or {}))

    def call_api(
        self, path: str, *, method: str = "GET", body: Any = None, query: Mapping[str, Any] | None = None
    ) -> Any:
        if self.world.api is None:
            raise AssertionError(f"the test has no answer to {method} {path}")
        return self.world.api(method, path, body, dict(query or {}))

    def run_log(self, *, query: str = "", size: int = 100, search_after: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
        """`query` is only recorded: the test gives records that match."""
        self.log_queries.append(query)
        found = [r for r in self.world.log_records if not search_after or tuple(r["sort"]) > tuple(search_after)]
        return copy(sorted(found, key=lambda r: tuple(r["sort"]))[:size])  # type: ignore[no-any-return]

    def add_listener(self, event: str, params: Mapping[str, Any] | None = None) -> None:
        self.listeners[event] = dict(params or {})

    def remove_listener(self, event: str) -> None:
        self.listeners.pop(event, None)

    def links(self) -> list[Link]:
        return list(self._links)

    def manifest(self, type: str) -> Mapping[str, Any] | None:
        return self.world.manifests.get(type)

    def labels(self) -> Mapping[str, str]:
        return {cid: step.get("label") or "" for cid, step in self.flow.items()}

    def stop_flow(self) -> None:
        self._pending.append(lambda: setattr(self, "stopped", True))

    def eval_javascript(self, code: str, data: Any = None) -> Any:
        from engine.values import javascript

        return javascript.evaluate(code, data)

    def heavy(
        self, work: Callable[[Any], Any], payload: Any = None, *, seconds: float = 60.0, megabytes: int = 256
    ) -> Any:
        """Runs here, with the same rules for what goes in and out."""
        found = getattr(importlib.import_module(work.__module__), work.__qualname__)
        assert found is work, "heavy work must be a function at the top of a module"
        result = work(payload if isinstance(payload, bytes) else copy(payload))
        return result if isinstance(result, bytes) else copy(result)


def run(
    type: str,
    messages: Mapping[str, Any] | None = None,
    *,
    properties: Mapping[str, Any] | None = None,
    hook: str = "receive",
    scope: Mapping[str, Mapping[str, Any]] | None = None,
    **setting: Any,
) -> Recorder:
    """Make a recorder (`setting`: its other arguments) and run one hook with these messages."""
    return Recorder(type, properties=properties, **setting).call(hook, messages, scope=scope)
