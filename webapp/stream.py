"""Live news for pages: GET /app/stream?topics=log:<flowId>,flow:<flowId> (design-browser.md §3).

One thread a process reads what is new and fans it out to the queue of each open stream; no stream
polls. Topics and what they send, as server-sent events whose data is JSON:

    log:<flowId>    event `log`   {"topic", "html"}   rows of the run log (parts/log_rows.html), newest first
    flow:<flowId>   event `flow`  {"topic"}           stage or descriptor changed: fetch what you show again

An event's id is the time it was made, in epoch ms. A stream opened with `Last-Event-ID` first gets the
log rows since then (with an overlap: slow steps are indexed late; pages drop rows they have) and one
`flow` event for each flow, so that it does not matter which process or what pause lies between.
A stream ends after ten minutes, or when its reader is too slow; pages open it again by themselves.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import orjson

from engine.errors import Unavailable
from engine.model.log import LogQuery
from engine.ports import NOTICES_LOST, Cache, Clock, Doc, LogIndex

log = logging.getLogger(__name__)

ROWS = 100
OVERLAP_MS = 60_000
REMEMBERED = 1_000
BACKLOG = 50
HEARTBEAT = 15.0
LIFE_MS = 600_000
PAUSE = 0.25
"""Seconds between two readings, so that a busy flow costs four queries a second, not one a batch."""

Render = Callable[[str, list[Doc]], str]
"""(flow id, log records) -> HTML of their rows."""


@dataclass(eq=False)
class Stream:
    topics: frozenset[str]
    ends: int
    queue: queue.Queue[bytes | None] = field(default_factory=lambda: queue.Queue(BACKLOG))


class StreamHub:
    """All open streams of this process, at most `limit`. `render` runs in the reading thread."""

    def __init__(self, *, cache: Cache, log_index: LogIndex, clock: Clock, limit: int, render: Render) -> None:
        self._cache = cache
        self._log_index = log_index
        self._clock = clock
        self._limit = limit
        self._render = render
        self._streams: dict[str, set[Stream]] = {}
        self._open = 0
        self._lock = threading.Lock()
        self._sent: dict[str, deque[str]] = {}
        self._dirty: dict[str, None] = {}
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._unsubscribe: list[Callable[[], None]] = []

    def open(self, topics: frozenset[str], since: int | None) -> Stream:
        """Raises Unavailable when as many streams are open as settings.streams allows; the page then polls."""
        stream = Stream(topics, self._clock.now() + LIFE_MS)
        with self._lock:
            if self._open >= self._limit or self._closed.is_set():
                raise Unavailable("all live streams of this server are taken; the page asks every few seconds instead")
            self._open += 1
            self._begin()
            for topic in topics:
                self._streams.setdefault(topic, set()).add(stream)
        try:
            for topic in sorted(topics) if since is not None else ():
                self._deliver([stream], self._news(topic, since))
        except BaseException:
            self.leave(stream)  # nobody will read it
            raise
        return stream

    def _begin(self) -> None:
        """With the first stream, not at start: threads do not survive the fork of a server's workers."""
        if not self._unsubscribe:
            self._unsubscribe = [
                self._cache.subscribe("logs", self._logs_indexed),
                self._cache.subscribe("flow-changed", lambda flow_id: self._mark(f"flow:{flow_id}")),
                self._cache.subscribe(NOTICES_LOST, self._mark_all),
            ]
            threading.Thread(target=self._run, name="streams", daemon=True).start()

    def leave(self, stream: Stream) -> None:
        with self._lock:
            self._open -= 1
            for topic in stream.topics:
                readers = self._streams[topic]
                readers.discard(stream)
                if not readers:
                    del self._streams[topic]
                    self._sent.pop(topic, None)

    def events(self, stream: Stream) -> Iterator[bytes]:
        """What to write to the client; a comment every 15 s shows that both ends are alive."""
        yield b": open\n\n"
        while self._clock.now() < stream.ends:
            try:
                event = stream.queue.get(timeout=HEARTBEAT)
            except queue.Empty:
                event = b": ping\n\n"
            if event is None:
                return
            yield event

    def close(self) -> None:
        """End every stream, so that the server can stop."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._closed.set()
        self._wake.set()
        with self._lock:
            streams = set().union(*self._streams.values())
        for stream in streams:
            _end(stream)

    def _logs_indexed(self, text: str) -> None:
        self._mark(f"log:{orjson.loads(text)['flowId']}")

    def _mark(self, topic: str) -> None:
        with self._lock:
            if topic in self._streams:
                self._dirty[topic] = None
                self._wake.set()

    def _mark_all(self, _text: str) -> None:
        with self._lock:
            self._dirty.update(dict.fromkeys(self._streams))
            self._wake.set()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._wake.wait()
            with self._lock:
                topics, self._dirty = list(self._dirty), {}
                self._wake.clear()
            for topic in topics:
                try:
                    event = self._news(topic, None)
                except Exception:  # whatever one topic's news trip over, the others' must go on
                    log.exception("cannot read news for streams", extra={"action": "stream", "topic": topic})
                    continue
                with self._lock:
                    readers = list(self._streams.get(topic, ()))
                self._deliver(readers, event)
            self._closed.wait(PAUSE)

    def _news(self, topic: str, since: int | None) -> bytes | None:
        """The event for a topic: what was not sent yet, or with `since` everything from then on."""
        kind, _, flow_id = topic.partition(":")
        if kind == "flow":
            return self._event(kind, {"topic": topic})
        query = "" if since is None else f"created:>={since - OVERLAP_MS}"
        hits = self._log_index.search(LogQuery(query=query, flow_ids=(flow_id,), size=ROWS, buckets=False)).hits
        if since is None:
            with self._lock:
                sent = self._sent.setdefault(topic, deque(maxlen=REMEMBERED))
                known = set(sent)
                hits = [hit for hit in hits if hit["_id"] not in known]
                sent.extend(hit["_id"] for hit in hits)
        return self._event(kind, {"topic": topic, "html": self._render(flow_id, hits)}) if hits else None

    def _event(self, kind: str, data: Doc) -> bytes:
        return b"id: %d\nevent: %s\ndata: %s\n\n" % (self._clock.now(), kind.encode(), orjson.dumps(data))

    def _deliver(self, streams: list[Stream], event: bytes | None) -> None:
        if event is None:
            return
        for stream in streams:
            try:
                stream.queue.put_nowait(event)
            except queue.Full:
                _end(stream)


def _end(stream: Stream) -> None:
    """Make room and end it: its page comes back with Last-Event-ID and misses nothing."""
    while True:
        try:
            stream.queue.put_nowait(None)
        except queue.Full:
            try:
                stream.queue.get_nowait()
            except queue.Empty:
                continue
        else:
            return
