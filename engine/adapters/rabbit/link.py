"""The process's one connection to RabbitMQ, and the one thread that uses it.

Other threads hand work over with `call`. A lost connection is made again, to the next address if there are
several, with growing pauses. The broker's word on the state of its disk and memory is kept in `blocked`.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pika
from pika.adapters.select_connection import IOLoop
from pika.channel import Channel
from pika.exceptions import AMQPConnectionError, ChannelClosedByClient

from engine.adapters.rabbit.topology import ARGUMENTS, QUEUES

log = logging.getLogger(__name__)
logging.getLogger("pika").setLevel(logging.CRITICAL)  # it tells of every lost connection many times; we do, once

HEARTBEAT = 20
"""Seconds; a broker that has been silent for two of them is gone."""

READ = 64 * 1024
TICK = 0.25
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
GRACE = 1.0
"""Seconds a connection may be away before anybody is refused for it: most are back at once."""

LASTED = 5.0
"""Seconds after which a connection was a good one, so that it is made again without a long pause."""

GOODBYE = 3.0
"""Seconds for an orderly end of the connection; a broker under an alarm does not read it."""


@dataclass(frozen=True, slots=True)
class Session:
    """What goes over the connection. All of it is called on its thread.

    `up`: there is a connection, and the queues exist: the channels for publishing, for consuming messages and
    for consuming records, and the connection's number. `down`: it is lost, with all that was under way on it.
    `turn`: some work has been done; send what has gathered. `tick`: every TICK seconds, connected or not.
    """

    up: Callable[[Channel, Channel, Channel, int], None]
    down: Callable[[], None]
    turn: Callable[[], None]
    tick: Callable[[], None]


class Connection(pika.SelectConnection):
    """Sends what one turn of the loop has to say in one piece, and reads much at a time.

    The driver makes a system call per frame, three per message, and reads 4 KB at a time. Each call gives up the
    interpreter lock, and getting it back takes far longer than the call when other threads are busy.
    """

    _held: list[bytes] | None = None

    def _proto_connection_made(self, transport: Any) -> None:
        transport._MAX_RECV_BYTES = READ
        super()._proto_connection_made(transport)

    def _adapter_emit_data(self, data: bytes) -> None:
        if self._held is None:
            super()._adapter_emit_data(data)
        else:
            self._held.append(data)

    def _on_data_available(self, data_in: bytes) -> None:
        with self.in_one_piece():
            super()._on_data_available(data_in)

    @contextmanager
    def in_one_piece(self) -> Iterator[None]:
        if self._held is not None:
            yield
            return
        self._held = []
        try:
            yield
        finally:
            held, self._held = self._held, None
            if held and not self.is_closed:
                super()._adapter_emit_data(b"".join(held))

    def cut(self, why: str) -> None:
        """End it without a word to the broker."""
        self._terminate_stream(AMQPConnectionError(why))


class Link:
    def __init__(self, url: str, session: Session) -> None:
        self._addresses = itertools.cycle([_parameters(one) for one in url.split(",")])
        self._session = session
        self._loop = IOLoop()
        self._work: deque[Callable[[], None]] = deque()
        self._awake = False
        self._pause = FIRST_PAUSE
        self._reason = "it is being connected"
        self._lost = self._since = time.monotonic()
        self._alarm: str | None = None
        self._closing = False
        self._connection: Connection | None = None
        self.generation = 0
        """Of the connection: what belongs to an earlier one is lost."""
        self.is_up = False
        self._thread = threading.Thread(target=self._main, name="rabbit connection", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def blocked(self) -> str | None:
        """Why the broker takes no messages at present, if so."""
        if self._alarm is not None:
            return f"RabbitMQ takes no messages: {self._alarm}"
        if self.is_up or time.monotonic() - self._lost < GRACE:
            return None
        return f"no connection to RabbitMQ: {self._reason}"

    @property
    def may_publish(self) -> bool:
        return self.is_up and self._alarm is None

    def call(self, work: Callable[[], None]) -> None:
        """Do `work` on the connection's thread, soon. From any thread; in the order of the calls of one."""
        self._work.append(work)
        if not self._awake:  # one wake for all that comes until it has an effect: it is a system call
            self._awake = True
            self._loop.add_callback_threadsafe(self._run)

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        """Only on the connection's thread."""
        self._loop.call_later(seconds, work)

    def cut(self, why: str) -> None:
        """Only on the connection's thread."""
        if self._connection is not None and not self._connection.is_closed:
            self._connection.cut(why)

    def open_channel(self, opened: Callable[[Channel], None]) -> None:
        """A further channel, if there is a connection. Only on the connection's thread."""
        if self._connection is not None and self._connection.is_open:
            self._new_channel(self._connection, opened)

    def _main(self) -> None:
        self._loop.call_later(0, self._connect)
        self._loop.call_later(TICK, self._tick)
        while not self._closing:
            try:
                self._loop.start()
            except Exception:  # a fault of ours: the connection cannot be trusted, the thread must go on
                log.exception("the broker's thread failed", extra={"action": "broker_failed"})
                self.cut("internal error")
        self._loop.close()

    def _run(self) -> None:
        self._awake = False
        if self._connection is None:
            self._turn()
            return
        with self._connection.in_one_piece():
            self._turn()

    def _turn(self) -> None:
        for _ in range(len(self._work)):
            try:
                self._work.popleft()()
            except Exception:  # what is left over is found by `tick`, or comes again with the connection
                log.exception("work for the broker failed", extra={"action": "broker_failed"})
        self._session.turn()

    def _tick(self) -> None:
        self._loop.call_later(TICK, self._tick)
        self._session.tick()

    # -- connecting

    def _connect(self) -> None:
        self._connection = Connection(
            next(self._addresses), self._opened, self._ended, self._ended, custom_ioloop=self._loop
        )

    def _opened(self, connection: Any) -> None:
        connection.add_on_connection_blocked_callback(self._set_alarm)
        connection.add_on_connection_unblocked_callback(self._clear_alarm)
        self._open_channels(connection, [])

    def _open_channels(self, connection: Any, channels: list[Channel]) -> None:
        if len(channels) < 3:
            self._new_channel(connection, lambda channel: self._open_channels(connection, [*channels, channel]))
            return
        left = len(QUEUES)

        def declared(_: object) -> None:
            nonlocal left
            left -= 1
            if not left:
                self._up(channels)

        for queue in QUEUES:
            declare(channels[0], queue, declared)

    def _new_channel(self, connection: Any, opened: Callable[[Channel], None]) -> None:
        def ready(channel: Channel) -> None:
            channel.add_on_close_callback(self._channel_closed)
            opened(channel)

        connection.channel(on_open_callback=ready)

    def _up(self, channels: list[Channel]) -> None:
        self._since = time.monotonic()
        self.generation += 1
        self.is_up = True
        if self.generation > 1:
            log.warning("connected to RabbitMQ again", extra={"action": "broker_connected"})
        publish, consume, logs = channels
        self._session.up(publish, consume, logs, self.generation)

    def _channel_closed(self, channel: Channel, reason: Exception) -> None:
        """What the channels share must not get out of step: if it was not by us, all of them begin anew."""
        if channel.connection.is_open and not isinstance(reason, ChannelClosedByClient):
            log.error("RabbitMQ closed a channel: %s", reason, extra={"action": "broker_channel"})
            channel.connection.close()

    def _ended(self, _connection: object, reason: BaseException) -> None:
        self._connection = None
        self._alarm = None
        was_up, self.is_up = self.is_up, False
        text = _words(reason)
        if was_up:
            self._lost = time.monotonic()
            if self._lost - self._since > LASTED:
                self._pause = FIRST_PAUSE
            self._session.down()
        if self._closing:
            self._loop.stop()
            return
        if was_up or text != self._reason:
            log.warning("no connection to RabbitMQ: %s", text, extra={"action": "broker_away"})
        self._reason = text
        self._loop.call_later(self._pause, self._connect)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    # -- alarms

    def _set_alarm(self, _connection: object, frame: Any) -> None:
        self._alarm = frame.method.reason or "an alarm"
        log.warning("RabbitMQ takes no messages: %s", self._alarm, extra={"action": "broker_blocked"})

    def _clear_alarm(self, _connection: object, _frame: object) -> None:
        self._alarm = None
        log.warning("RabbitMQ takes messages again", extra={"action": "broker_unblocked"})
        self._session.turn()

    def close(self) -> None:
        """End the connection in order, and the thread. Work handed over later is never done."""
        self.call(self._shut)
        self._thread.join()

    def _shut(self) -> None:
        self._closing = True
        connection = self._connection
        if connection is None or connection.is_closed:
            self._loop.stop()
        elif connection.is_open:
            self._loop.call_later(GOODBYE, lambda: self.cut("it did not end"))
            connection.close()
        else:
            connection.cut("the process ends")


def declare(channel: Channel, queue: str, done: Callable[[object], None]) -> None:
    channel.queue_declare(queue, durable=True, arguments=ARGUMENTS, callback=done)


def _parameters(url: str) -> pika.URLParameters:
    parameters = pika.URLParameters(url.strip())
    parameters.heartbeat = HEARTBEAT
    parameters.connection_attempts = 1
    parameters.socket_timeout = 5
    parameters.stack_timeout = 10
    return parameters


def _words(error: BaseException) -> str:
    """The innermost reason: the driver wraps what the system said several times."""
    inner = getattr(error, "exception", None) or [*getattr(error, "exceptions", ()), *error.args][-1:]
    while isinstance(inner, list):
        inner = inner[0] if inner else None
    return _words(inner) if isinstance(inner, BaseException) else str(error) or type(error).__name__
