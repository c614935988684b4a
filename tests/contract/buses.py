"""The buses that the contract suite of `ports.Bus` runs on, each with the documents it settles with."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from unittest import mock

from engine.adapters.embedded import bus as embedded_bus
from engine.adapters.embedded.bus import SqliteBus
from engine.adapters.embedded.database import Database
from engine.adapters.embedded.documents import SqliteDocuments
from engine.adapters.embedded.query_sql import register_functions
from engine.adapters.mongo.documents import MongoDocuments
from engine.adapters.rabbit.bus import STEP_QUEUES, RabbitBus
from engine.errors import Unavailable
from engine.model.message import Message, new_id
from engine.ports import Bus, Delivery, Documents
from tests import rabbit_server

WAIT = 20
POLL = 0.01


class Installation(Protocol):
    """A bus with its documents. `knows_messages` tells the two kinds of bus apart, see `ports.Bus`."""

    bus: Any
    documents: Documents
    knows_messages: bool

    def crash(self) -> None:
        """Drop all memory and open the same store again."""

    def small_window(self, messages: int) -> None:
        """Hold fewer messages in memory, from now on."""

    def no_settling(self) -> Any:
        """A context in which the store of documents is out of order."""

    def arrived(self, count: int) -> None:
        """Wait until so many messages that are not handed out are known to this process."""

    def close(self) -> None: ...


class Embedded:
    knows_messages = True

    def __init__(self, folder: Path, patch: Callable[[Any, str, Any], None]) -> None:
        self._folder = folder
        self._patch = patch
        self._open()

    def _open(self) -> None:
        self.database = Database(self._folder / "headrace.db", on_connect=(register_functions,))
        self.documents: Documents = SqliteDocuments(self.database)
        self.bus: Bus = SqliteBus(self.database)

    def crash(self) -> None:
        self.close()
        self._open()

    def small_window(self, messages: int) -> None:
        self._patch(embedded_bus, "WINDOW", messages)

    @contextmanager
    def no_settling(self) -> Iterator[None]:
        with mock.patch.object(embedded_bus, "_DELETE", "DELETE FROM no_such_table WHERE id = ?"):
            yield

    def arrived(self, count: int) -> None:
        """What is published is known at once."""

    def close(self) -> None:
        self.bus.close()
        self.database.close()


class SharedCounters:
    """As Redis keeps them: they outlive a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: dict[str, int] = {}
        self.away = False

    def add(self, changes: Mapping[str, int]) -> Mapping[str, int]:
        if self.away:
            raise Unavailable("the counters are away")
        with self._lock:
            for name, by in changes.items():
                self.counts[name] = self.counts.get(name, 0) + by
            return {name: self.counts[name] for name in changes}


class Rabbit:
    knows_messages = False

    def __init__(self, url: str, documents: MongoDocuments, queues: Sequence[str] = STEP_QUEUES) -> None:
        self.url = url
        self._queues = queues
        self.hold = threading.Event()
        self.hold.set()
        self.bulks: list[int] = []
        self.documents: Documents = documents
        self._mongo = documents
        self.out_of_order = False
        self.counters = SharedCounters()
        self.bus = self.open()

    def open(self) -> RabbitBus:
        return RabbitBus(self.url, self.settle, counters=self.counters, queues=self._queues)

    def settle(self, writes: Any, states: Any) -> None:
        """Waits while `hold` is cleared."""
        self.hold.wait(WAIT)
        if self.out_of_order:
            raise Unavailable("the documents are out of order")
        self.bulks.append(len(writes))
        self._mongo.bulk(writes, states)

    def crash(self) -> None:
        rabbit_server.sync(self.bus)
        rabbit_server.kill(self.bus)
        rabbit_server.bury(self.bus)
        self.bus = self.open()

    def small_window(self, messages: int) -> None:
        """It is as small as `prefetch` anyway."""

    @contextmanager
    def no_settling(self) -> Iterator[None]:
        self.out_of_order = True
        yield
        self.out_of_order = False

    def waiting(self) -> list[Delivery]:
        """What this process was given and has not handed out."""
        room = self.bus._room
        with room._lock:
            lists = [*room._flows._flows.values(), *room._bulk._flows.values(), *room._parked.values()]
            return [delivery for some in lists for delivery in some]

    def arrived(self, count: int) -> None:
        until(lambda: len(self.waiting()) >= count, f"{count} messages have arrived")

    def close(self) -> None:
        self.bus.close()


def until(true: Callable[[], object], what: str, seconds: float = WAIT) -> None:
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, f"not within {seconds} s: {what}"
        time.sleep(POLL)


def message(flow_id: str = "flow", content: Any = None, id: str | None = None) -> Message:
    key = id or new_id()
    return Message(key, flow_id, 1, 1, "component", key, "in", content, {"a": {"out": 1}}, 1_790_000_000_000)


class Collector:
    """Takes deliveries and lets tests wait for a number of them."""

    def __init__(self) -> None:
        self.got: list[Delivery] = []
        self._changed = threading.Condition()

    def __call__(self, delivery: Delivery) -> None:
        with self._changed:
            self.got.append(delivery)
            self._changed.notify_all()

    def wait(self, count: int) -> list[Delivery]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.got) >= count, WAIT), f"only {len(self.got)} of {count} came"
            return list(self.got)

    def contents(self) -> list[Any]:
        return [d.message.content for d in self.got]
