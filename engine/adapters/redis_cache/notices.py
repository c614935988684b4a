"""Notices between processes: one thread hears all channels of this process, and knows when it may have missed some.

While its connection is away it tries again with growing pauses; it also finds out for everybody else whether
Redis can be reached. A connection that says nothing is asked every few seconds whether it is still there.

What others announced meanwhile is lost. So whenever there was a gap, `NOTICES_LOST` is announced in this process
until all its subscribers have done what they do then without raising; while the gap lasts, again and again.
That happens on a thread of its own: they may take their time.
"""

from __future__ import annotations

import logging
import os
import threading
import uuid
from collections.abc import Callable
from typing import Any

from redis.exceptions import RedisError

from engine.adapters.redis_cache.link import TIMEOUT, Link
from engine.adapters.subscribers import Handler, Subscribers
from engine.ports import NOTICES_LOST

log = logging.getLogger(__name__)

ASK = 2.0
"""Seconds of silence after which the server is asked whether it is there."""

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0


class Notices:
    """`prefix` begins the names of channels. `on_restored` is called after each gap, before `NOTICES_LOST`."""

    def __init__(self, link: Link, prefix: str, on_restored: Callable[[], None]) -> None:
        self._link = link
        self._prefix = prefix.encode()
        self._on_restored = on_restored
        self._subscribers = Subscribers()
        self._origin = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._connection: Any = None
        self._asked: set[str] = set()
        self._heard: set[str] = set()
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        self._gap = threading.Event()

    # -- for any thread

    def publish(self, channel: str, text: str) -> None:
        """Subscribers in this process are told here and now; others soon, or never while Redis is away."""
        self._subscribers.tell(channel, text)
        try:
            self._link.call("PUBLISH", self._name(channel), f"{self._mark()}{text}".encode())
        except Exception as error:  # noqa: BLE001 - whoever cannot be told asks again by himself, see NOTICES_LOST
            log.debug("a notice went to this process only: %s", error, extra={"action": "notice_lost"})

    def subscribe(self, channel: str, handler: Handler) -> Callable[[], None]:
        """Returns once notices of others are heard, or after a second when Redis is away."""
        leave = self._subscribers.add(channel, handler)
        if channel == NOTICES_LOST:
            return leave
        with self._lock:
            self._begin()
            self._ask_for_channels()
            if threading.current_thread() is not self._thread:  # which is the one that would hear
                self._changed.wait_for(lambda: channel in self._heard or self._deaf(), TIMEOUT)
        return leave

    def _deaf(self) -> bool:
        return self._link.trouble is not None or self._closed.is_set()

    def look(self) -> None:
        """A command has failed: find out whether Redis is there."""
        with self._lock:
            self._begin()
            self._send("PING")  # the answer wakes the thread

    def close(self) -> None:
        self._closed.set()
        self._gap.set()
        with self._lock:
            self._send("PING")
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(ASK)

    def _mark(self) -> str:
        """What tells this process's notices from those of others; a fork is another process."""
        return f"{self._origin}.{os.getpid()} "

    def _name(self, channel: str) -> bytes:
        return self._prefix + channel.encode()

    # -- under the lock

    def _begin(self) -> None:
        if self._closed.is_set() or (self._thread is not None and self._thread.is_alive()):
            return
        self._connection, self._asked, self._heard = None, set(), set()
        self._thread = threading.Thread(target=self._run, name="redis notices", daemon=True)
        self._thread.start()
        threading.Thread(target=self._tell_of_gaps, name="redis gaps", daemon=True).start()

    def _ask_for_channels(self) -> None:
        missing = self._subscribers.channels() - self._asked - {NOTICES_LOST}
        if missing and self._connection is not None:
            self._asked |= missing
            self._send("SUBSCRIBE", *(self._name(channel) for channel in sorted(missing)))

    def _send(self, *words: str | bytes) -> None:
        if self._connection is None:
            return
        try:
            self._connection.send_command(*words, check_health=False)
        except (RedisError, OSError):
            pass  # the thread that reads from it will find out

    # -- the thread

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._closed.is_set():
            try:
                connection = self._link.connect()
                try:
                    self._greet(connection)
                    pause = FIRST_PAUSE
                    self._listen(connection)
                finally:
                    with self._lock:
                        self._connection = None
                    connection.disconnect()  # type: ignore[no-untyped-call]
            except Exception as error:  # noqa: BLE001 - a connection that another thread has closed fails in any way
                self._missed(error)
                self._closed.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _greet(self, connection: Any) -> None:
        """Subscribe; from here on notices are heard, so that a look at the rest makes up for the gap."""
        with self._lock:
            after_gap = self._link.trouble is not None
            self._connection, self._asked, self._heard = connection, set(), set()
            self._ask_for_channels()
            wanted = set(self._asked)
        while not wanted <= self._heard:
            self._receive(connection)
        self._link.restored()
        with self._lock:
            self._changed.notify_all()
        if after_gap:
            self._gap.set()

    def _listen(self, connection: Any) -> None:
        while not self._closed.is_set():
            if not connection.can_read(timeout=ASK):
                with self._lock:
                    self._send("PING")  # its answer is not waited for longer than any other
            self._receive(connection)

    def _receive(self, connection: Any) -> None:
        answer = connection.read_response()
        if not isinstance(answer, list) or answer[0] == b"pong":
            self._link.restored()  # who has asked may go on
            return
        kind, name, data = answer
        channel = name[len(self._prefix) :].decode()
        if kind == b"message":
            origin, _, text = data.decode(errors="replace").partition(" ")
            if f"{origin} " != self._mark():
                self._subscribers.tell(channel, text)
        elif kind == b"subscribe":
            with self._lock:
                self._heard.add(channel)
                self._changed.notify_all()

    def _missed(self, error: Exception) -> None:
        """Without asking to look: this is who looks."""
        if not self._closed.is_set():
            self._link.lost(error)
            self._gap.set()
        with self._lock:
            self._changed.notify_all()

    # -- the other thread

    def _tell_of_gaps(self) -> None:
        while not self._closed.is_set():
            self._gap.wait()
            self._gap.clear()
            if self._closed.is_set():
                return
            if self._link.trouble is None:
                self._on_restored()
            if not self._subscribers.tell(NOTICES_LOST, ""):
                self._gap.set()
            self._closed.wait(LONGEST_PAUSE)  # so often at most, and again when somebody could not
