"""Large outputs, stored once and carried by name (design.md §4 "Bounds").

An output over LIMIT is stored when it is emitted, under a hash of its flow and content. Messages that
are published then carry the name instead of the value; whoever executes one gets the value back, from
memory when it was here a moment ago. Names stand beside the data, in `message.extra`, never inside it:
nothing a sender writes can be taken for one.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson

from engine.errors import NotFound
from engine.model.message import Message, content_json
from engine.ports import Bus, Clock, Doc, Documents, Files, Query, Where, Write
from engine.services.outcome import Emission

LIMIT = 64 * 1024
"""Characters of JSON text from which an output is stored apart."""

IN_DOCUMENTS = 1024 * 1024
IN_MEMORY = 32 * 1024 * 1024
NAMES = 10_000
"""How many names are remembered longer than their values."""
FORGETFUL_MS = 1_800_000
"""For how long after a value was let go messages are searched for it: longer than any step may hold it."""
JUST_STORED_MS = 600_000
ALIASES = 8
COLLECTION = "payloads"
KEPT_MS = 7 * 86_400_000
REFS = "payloads"


class Payloads:
    def __init__(self, documents: Documents, files: Files, clock: Clock) -> None:
        self._documents = documents
        self._files = files
        self._clock = clock
        self._lock = threading.Lock()
        self._values: OrderedDict[str, tuple[list[Any], int]] = OrderedDict()
        self._keys: dict[int, str] = {}
        self._size = 0
        self._names: OrderedDict[str, int] = OrderedDict()  # of values that are stored, and since when that is known
        self._forgetful_until = 0

    # -- storing

    def keep(self, emission: Emission, flow_id: str) -> list[Write]:
        """What makes a large emission durable, for the settlement that publishes it; nothing for a small one."""
        if len(emission.text) <= LIMIT:
            return []
        key = _name(flow_id, emission.text)
        now = self._clock.now()
        doc: Doc = {"_id": key, "flowId": flow_id, "created": now}
        if len(emission.text) <= IN_DOCUMENTS:
            doc["value"] = emission.content
        else:
            doc["file"] = key
            if now - self._names.get(key, 0) > JUST_STORED_MS:
                text = emission.text.encode()
                self._files.save(key, text, content_type="application/json", metadata={"payload": True}, file_id=key)
        self._remember(key, emission.content, len(emission.text))
        return [Write(COLLECTION, key, doc)]

    def key_of(self, value: Any) -> str | None:
        """The name under which this very object is stored."""
        if not self._keys or not isinstance(value, dict | list | str):
            return None
        key = self._keys.get(id(value))
        if key is None:
            return None
        held = self._values.get(key)
        return key if held is not None and any(known is value for known in held[0]) else None

    # -- carrying

    def detach(self, message: Message) -> Message:
        """The message as it is published: large values replaced by names."""
        if not self._keys and not self._forgetful_until:
            return message
        name = self._namer(message.flow_id)
        refs: dict[str, Any] = {}
        scope: dict[str, dict[str, Any]] = {}
        for cid, ports in message.scope.items():
            for port, value in ports.items():
                if (key := name(value)) is not None:
                    refs.setdefault("scope", []).append([cid, port, key])
                else:
                    scope.setdefault(cid, {})[port] = value
        content = message.content
        if (key := name(content)) is not None:
            refs["content"], content = key, None
        if not refs:
            return message
        return replace(message, content=content, scope=scope, extra={**message.extra, REFS: refs})

    def _namer(self, flow_id: str) -> Callable[[Any], str | None]:
        """How to find the name of a stored value. One that memory has let go is known by its text alone."""
        if self._clock.now() > self._forgetful_until:
            return self.key_of

        def name(value: Any) -> str | None:
            key = self.key_of(value)
            if key is not None or not isinstance(value, dict | list | str):
                return key
            text = content_json(value).decode()
            if len(text) <= LIMIT:
                return None
            key = _name(flow_id, text)
            return key if key in self._names else None

        return name

    def attach(self, message: Message) -> Message:
        """The message as it is executed. Raises NotFound when a stored value is gone."""
        refs = message.extra.get(REFS)
        if refs is None:
            return message
        scope = {cid: dict(ports) for cid, ports in message.scope.items()}
        for cid, port, key in refs.get("scope", ()):
            scope.setdefault(cid, {})[port] = self.load(key)
        content = self.load(refs["content"]) if "content" in refs else message.content
        extra = {name: value for name, value in message.extra.items() if name != REFS}
        return replace(message, content=content, scope=scope, extra=extra)

    def load(self, key: str) -> Any:
        """A stored value. Raises NotFound."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key][0][0]
        doc = self._documents.get(COLLECTION, key)
        if doc is None:
            raise NotFound(
                f"a large output of an earlier step (payload {key}) is no longer stored", code="PAYLOAD_GONE"
            )
        if "file" in doc:
            with self._files.open(doc["file"]) as stream:
                text = stream.read()
            value, size = orjson.loads(text), len(text)
        else:
            value, size = doc["value"], LIMIT
        self._remember(key, value, size)
        return value

    def _remember(self, key: str, value: Any, size: int) -> None:
        """Hold a value, so that its object stands for the name. Equal values of several steps share one name."""
        with self._lock:
            objects, _ = self._values.setdefault(key, ([], size))
            if not objects:
                self._size += size
            objects.append(value)
            self._keys[id(value)] = key
            if len(objects) > ALIASES:
                self._keys.pop(id(objects.pop(1)), None)
            self._values.move_to_end(key)
            self._names[key] = self._clock.now()
            self._names.move_to_end(key)
            if len(self._names) > NAMES:
                self._names.popitem(last=False)
            while self._size > IN_MEMORY and len(self._values) > 1:
                self._forget(next(iter(self._values)))
                self._forgetful_until = self._clock.now() + FORGETFUL_MS

    def _forget(self, key: str) -> None:
        objects, size = self._values.pop(key)
        self._size -= size
        for value in objects:
            self._keys.pop(id(value), None)

    # -- clearing away

    def expire(self, bus: Bus, limit: int = 200) -> int:
        """Delete old values of flows that hold nothing which could still refer to one."""
        old = Query(where=(Where("created", "lt", self._clock.now() - KEPT_MS),), exclude=("value",), limit=limit)
        gone = 0
        for doc in self._documents.find(COLLECTION, old):
            if bus.depth(doc["flowId"]) or self._may_be_needed(doc["flowId"]):
                continue
            if "file" in doc:
                self._files.delete(doc["file"])
            self._documents.delete(COLLECTION, doc["_id"])
            gone += 1
        return gone

    def _may_be_needed(self, flow_id: str) -> bool:
        theirs = Where("flowId", "eq", flow_id)
        pending = {"timers": (theirs, Where("kind", "ne", "tick")), "continuity": (theirs,), "unprocessed": (theirs,)}
        return any(self._documents.count(name, Query(where=where)) for name, where in pending.items())


def _name(flow_id: str, text: str) -> str:
    return hashlib.blake2b(f"{flow_id}\0{text}".encode(), digest_size=20).hexdigest()
