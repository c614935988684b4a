"""What the recorders of one test share: a clock, timers, state, gathers, stores, files, locks, a fake network."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any

import orjson

from engine.model.times import iso
from engine.sdk import FileRecord, HttpResponse, StepError
from tests.connectors.memory import Group, copy

START = 1_745_566_692_000
"""2025-04-25T07:38:12Z, a Friday: "now" of the golden dates in utils-components.md."""


def read_all(content: bytes | IO[bytes] | Iterable[bytes]) -> bytes:
    if isinstance(content, bytes):
        return content
    return b"".join(content)


@dataclass
class Timer:
    id: str
    due: int
    component_id: str
    content: Any
    correlation_id: str
    scope: Mapping[str, Mapping[str, Any]]


@dataclass
class FakeRequest:
    method: str
    url: str
    headers: dict[str, str]
    params: dict[str, Any]
    body: bytes


class FakeHttp:
    """`answer` queues replies; a StepError among them is raised. `requests` are what was sent."""

    def __init__(self) -> None:
        self.requests: list[FakeRequest] = []
        self._answers: list[HttpResponse | StepError] = []

    def answer(
        self, status: int = 200, body: bytes | str | Any = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        if isinstance(body, str):
            body = body.encode()
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        self._answers.append(HttpResponse(status, {k.lower(): v for k, v in (headers or {}).items()}, data, ""))

    def fail(self, error: StepError) -> None:
        self._answers.append(error)

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        body: bytes | IO[bytes] | None = None,
        timeout: float = 60.0,
        max_bytes: int | None = None,
        follow: bool = True,
    ) -> HttpResponse:
        sent = body if isinstance(body, bytes) else body.read() if body is not None else b""
        self.requests.append(FakeRequest(method, url, dict(headers or {}), dict(params or {}), sent))
        if not self._answers:
            raise AssertionError(f"no answer was queued for {method} {url}")
        answer = self._answers.pop(0)
        if isinstance(answer, StepError):
            raise answer
        return HttpResponse(answer.status, answer.headers, answer.body, answer.url or url)

    @contextmanager
    def stream(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, timeout: float = 60.0
    ) -> Iterator[tuple[HttpResponse, Iterator[bytes]]]:
        answer = self.request(method, url, headers=headers, timeout=timeout)
        chunks = [answer.body[i : i + 7] for i in range(0, len(answer.body), 7)]
        yield HttpResponse(answer.status, answer.headers, b"", answer.url), iter(chunks)

    def resolve(self, host: str, port: int) -> str:
        return host


class FakeFiles:
    def __init__(self, world: World) -> None:
        self._world = world
        self.blobs: dict[str, bytes] = {}
        self.records: dict[str, FileRecord] = {}

    def put(self, file_id: str, filename: str, content: bytes, content_type: str | None = None) -> FileRecord:
        old = self.records.get(file_id)
        self.blobs[file_id] = content
        self.records[file_id] = FileRecord(
            file_id,
            filename,
            content_type or "application/octet-stream",
            len(content),
            hashlib.md5(content, usedforsecurity=False).hexdigest(),
            old.upload_date if old else self._world.now_ms,
            {"userId": "user-1", "fileId": file_id, "originFlowId": "flow-1"},
        )
        return self.records[file_id]

    def info(self, file_id: str) -> FileRecord:
        if file_id not in self.records:
            raise StepError(f"there is no file {file_id}", code="404")
        return self.records[file_id]

    def open(self, file_id: str) -> IO[bytes]:
        self.info(file_id)
        return io.BytesIO(self.blobs[file_id])


class FakeStores:
    """Entries by store and key; a store comes into being when it is first written to."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.entries: dict[str, dict[str, dict[str, Any]]] = {}
        self.names: dict[str, str] = {}
        self.webhooks: dict[str, tuple[str, ...]] = {}

    def get(self, store_id: str, key: str) -> dict[str, Any] | None:
        entry = self.entries.get(store_id, {}).get(key)
        return dict(entry) if entry else None

    def set(self, store_id: str, key: str, value: Any) -> dict[str, Any]:
        return self.modify(store_id, key, lambda _: value)

    def modify(self, store_id: str, key: str, change: Callable[[Any], Any]) -> dict[str, Any]:
        store = self.entries.setdefault(store_id, {})
        old = store.get(key)
        old_value = old["value"] if old else None
        new_value = copy(change(old_value))
        now = iso(self._world.now_ms)
        created = old["createdAt"] if old else now
        store[key] = {"key": key, "value": new_value, "storeId": store_id, "createdAt": created, "updatedAt": now}
        return {"key": key, "oldValue": old_value, "newValue": new_value, "createdAt": created, "updatedAt": now}

    def remove(self, store_id: str, key: str) -> dict[str, Any]:
        old = self.entries.get(store_id, {}).pop(key, None)
        return {"key": key, "oldValue": old["value"] if old else None}

    def clear(self, store_id: str) -> int:
        return len(self.entries.pop(store_id, {}))

    def find(
        self,
        store_id: str,
        *,
        pattern: str | None = None,
        query: Mapping[str, Any] | None = None,
        sort: str | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[dict[str, Any]]:
        """`query` here is equality of top-level fields only."""
        found = [
            dict(entry)
            for key, entry in self.entries.get(store_id, {}).items()
            if (pattern is None or re.search(pattern, key)) and all(entry.get(k) == v for k, v in (query or {}).items())
        ]
        if sort:
            name, _, direction = sort.partition(":")
            found.sort(key=lambda e: str(e.get(name)), reverse=direction == "-1")
        return found[offset : None if limit is None else offset + limit]

    def create(self, name: str) -> str:
        store_id = f"store-{len(self.names) + 1}"
        self.names[store_id] = name
        self.entries.setdefault(store_id, {})
        return store_id

    def list(self) -> list[dict[str, Any]]:
        return [{"name": name, "storeId": store_id} for store_id, name in self.names.items()]

    def register_webhook(self, store_id: str, events: Iterable[str] = ("insert", "update", "delete")) -> None:
        self.webhooks[store_id] = tuple(events)

    def unregister_webhook(self, store_id: str) -> None:
        self.webhooks.pop(store_id, None)


class World:
    """`now_ms` moves only by `advance`. By component type, `static` answers `call_component` and
    `manifests` answers `manifest`."""

    def __init__(self) -> None:
        self.now_ms = START
        self.timers: dict[str, Timer] = {}
        self.states: dict[str, dict[str, Any]] = {}
        self.results: dict[str, Any] = {}
        self.groups: dict[str, Group] = {}
        self.locks: set[str] = set()
        self.cache: dict[str, tuple[Any, int]] = {}
        self.log_records: list[dict[str, Any]] = []
        self.files = FakeFiles(self)
        self.stores = FakeStores(self)
        self.http = FakeHttp()
        self.manifests: dict[str, Mapping[str, Any]] = {}
        self.static: dict[str, Callable[[str, Mapping[str, Any], Mapping[str, Any]], Any]] = {}
        self.api: Callable[[str, str, Any, Mapping[str, Any]], Any] | None = None
        self.parts: list[Any] = []
        """Recorders that live in this world, in the order they were made."""
        self.signals: list[tuple[Any, str]] = []
        self.messages = 0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.now_ms / 1000, UTC)

    def next_message_id(self) -> str:
        self.messages += 1
        return f"message-{self.messages}"

    def advance(self, milliseconds: float) -> None:
        """Move the clock, delivering the time-outs that fall due, each at its own time."""
        until = self.now_ms + round(milliseconds)
        while due := sorted(
            (key for key, t in self.timers.items() if t.due <= until), key=lambda k: self.timers[k].due
        ):
            timer = self.timers.pop(due[0])
            self.now_ms = max(self.now_ms, timer.due)
            next(p for p in self.parts if p.component_id == timer.component_id).deliver_timeout(timer)
        self.now_ms = until

    def deliver_signals(self) -> None:
        """Hand every signal sent so far, and those they cause, to all recorders of the world."""
        while self.signals:
            content, correlation_id = self.signals.pop(0)
            for part in self.parts:
                part.call("signal", signal=content, correlation_id=correlation_id)
