"""Log records on their way to the indexer: many in one message, so that the broker has few to keep."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import orjson
from pika.channel import Channel
from pika.exceptions import AMQPError

from engine.adapters.rabbit.link import Link
from engine.adapters.rabbit.outbox import Outbox, Parcel
from engine.adapters.rabbit.topology import LOGS
from engine.ports import Doc, LogBatch

MOST_BYTES = 128 * 1024
"""Of one message, unless a single record is larger."""

PREFETCH = 400
"""Messages fetched ahead: 50 MB at the worst, and when there is little in each still some thousand records."""


def pieces(records: Sequence[Doc]) -> list[bytes]:
    """The records as JSON texts without brackets, each text of at most MOST_BYTES."""
    if not records:
        return []
    text = orjson.dumps(records, option=orjson.OPT_NON_STR_KEYS)
    if len(text) <= MOST_BYTES:
        return [text[1:-1]]
    found: list[bytes] = []
    for record in records:
        text = orjson.dumps(record, option=orjson.OPT_NON_STR_KEYS)
        if found and len(found[-1]) + len(text) + 2 < MOST_BYTES:
            found[-1] += b"," + text
        else:
            found.append(text)
    return found


class Packer:
    """Puts what several settlements log at the same moment into one message. Only for the connection's thread."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._texts: list[bytes] = []
        self._size = 0
        self._dones: list[Callable[[], None]] = []

    def add(self, text: bytes, done: Callable[[], None]) -> None:
        if self._size + len(text) + 3 > MOST_BYTES:
            self.flush()
        self._texts.append(text)
        self._size += len(text) + 1
        self._dones.append(done)

    def flush(self) -> None:
        if self._texts:
            body = b"[" + b",".join(self._texts) + b"]"
            self._outbox.send(Parcel(LOGS, body, partial(_all, self._dones)))
            self._texts, self._size, self._dones = [], 0, []


def _all(dones: list[Callable[[], None]]) -> None:
    for done in dones:
        done()


class Tray:
    """The records fetched from the broker for the indexer. They are asked for once somebody takes some."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._channel: Channel | None = None
        self._generation = 0
        self._wanted = False
        self._subscribed = 0
        self._changed = threading.Condition()
        self._ready: deque[tuple[int, bytes]] = deque()

    # -- on the connection's thread

    def up(self, channel: Channel, generation: int) -> None:
        self._channel, self._generation = channel, generation
        if self._wanted:
            self._subscribe()

    def down(self) -> None:
        self._channel = None
        with self._changed:
            self._ready.clear()

    def _subscribe(self) -> None:
        if self._channel is not None and self._channel.is_open and self._subscribed != self._generation:
            self._subscribed = self._generation
            self._channel.basic_qos(prefetch_count=PREFETCH)
            self._channel.basic_consume(LOGS, self._arrived)

    def _arrived(self, _channel: object, method: Any, _properties: object, body: bytes) -> None:
        with self._changed:
            self._ready.append((method.delivery_tag, body))
            self._changed.notify()

    def _acknowledge(self, generation: int, tags: list[int]) -> None:
        """What is lost comes again, and is known by the ids of the records."""
        if self._channel is None or generation != self._generation:
            return
        try:
            for tag in tags:
                self._channel.basic_ack(tag)
        except AMQPError:
            return

    # -- for the indexer

    def take(self, limit: int, wait: float) -> LogBatch | None:
        """At least one message's records, and no further one when there are `limit`."""
        if not self._wanted:
            self._wanted = True
            self._link.call(self._subscribe)
        records: list[Doc] = []
        tags: list[int] = []
        until = time.monotonic() + wait
        with self._changed:
            while not self._ready and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            generation = self._generation
            while self._ready and len(records) < limit:
                tag, body = self._ready.popleft()
                records.extend(orjson.loads(body))
                tags.append(tag)
        return LogBatch(records, (generation, tags)) if tags else None

    def done(self, batch: LogBatch) -> None:
        generation, tags = batch.tag
        self._link.call(lambda: self._acknowledge(generation, tags))
