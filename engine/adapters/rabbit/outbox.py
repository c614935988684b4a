"""Messages on their way to the broker, each of them kept until the broker has said that it is durable.

Only for the connection's thread. Confirms come back in a window, in any order. What the broker refuses (the
leader of a queue has just died) or returns (a queue is missing) is published again, and what was under way
when the connection was lost too: it may then be there twice.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pika
from pika.channel import Channel
from pika.exceptions import AMQPError

from engine.adapters.rabbit.link import Link, declare

log = logging.getLogger(__name__)

WINDOW = 1_000
AGAIN = 0.1
"""Seconds before what was refused or returned is published again."""

REFUSALS = 5
"""After so many of one message a new channel is opened. A channel remembers where the leader of a queue was when it
was first used; if that node has just died, it refuses everything for the queue as long as the node is away."""

STALL, SILENCE = 15.0, 60.0
"""Seconds without a confirm of the oldest message after which a new channel is opened, and without any confirm
after which the connection is taken for dead."""

PERSISTENT = pika.BasicProperties(delivery_mode=2)  # type: ignore[no-untyped-call]


@dataclass(slots=True, eq=False)
class Parcel:
    """`done` is called once it is durable. `wanted` turns False when nobody waits for it any more.

    `returned`: its queue was missing. `refusals`: how often it was not taken. `sent` is monotonic.
    """

    queue: str
    body: bytes
    done: Callable[[], None]
    wanted: bool = True
    returned: bool = False
    refusals: int = 0
    sent: float = 0.0


class Outbox:
    def __init__(self, link: Link) -> None:
        self._link = link
        self._channel: Channel | None = None
        self._waiting: deque[Parcel] = deque()
        self._under_way: dict[int, Parcel] = {}
        self._tag = 0
        self._refused: list[Parcel] = []
        self._heard = 0.0
        self._renewing = False

    def up(self, channel: Channel) -> None:
        """Go on over a new connection, with what was under way on the last one first."""
        self._waiting.extendleft(reversed(self._under_way.values()))
        self._under_way.clear()
        self._tag = 0
        self._heard = time.monotonic()
        self._channel = channel
        self._renewing = False
        channel.add_on_return_callback(self._returned)
        channel.confirm_delivery(partial(self._answered, channel))

    def down(self) -> None:
        self._channel = None

    def _renew(self, why: str) -> None:
        """Go on over a new channel, with what is under way first; what the old one still says does not count."""
        old = self._channel
        if old is None or self._renewing:
            return

        def opened(channel: Channel) -> None:
            if self._channel is old:
                self.up(channel)
                old.close()
                self.flush()
            else:  # the connection was lost meanwhile
                channel.close()

        self._renewing = True
        log.warning("a new channel to RabbitMQ: %s", why, extra={"action": "broker_channel"})
        self._link.open_channel(opened)

    def send(self, parcel: Parcel) -> None:
        """At the next `flush`."""
        self._waiting.append(parcel)

    def flush(self) -> None:
        """Publish what the window has room for, unless the broker takes nothing now."""
        if self._channel is None or not self._link.may_publish:
            return
        now = time.monotonic()
        if not self._under_way:
            self._heard = now
        while self._waiting and len(self._under_way) < WINDOW:
            parcel = self._waiting.popleft()
            if not parcel.wanted:
                continue
            parcel.returned, parcel.sent = False, now
            try:
                self._channel.basic_publish("", parcel.queue, parcel.body, PERSISTENT, mandatory=True)
            except AMQPError:  # the channel is ending; we shall be told
                self._waiting.appendleft(parcel)
                return
            self._tag += 1
            self._under_way[self._tag] = parcel

    def watch(self) -> None:
        """A broker that confirms nothing for long may have forgotten us."""
        if not self._under_way or not self._link.may_publish:
            return
        now, oldest = time.monotonic(), next(iter(self._under_way.values()))
        if now - self._heard > SILENCE:
            self._link.cut(f"nothing was confirmed for {SILENCE:.0f} seconds")
        elif now - oldest.sent > STALL:
            self._renew(f"a message for {oldest.queue} was not confirmed for {STALL:.0f} seconds")

    # -- the broker's answers

    def _answered(self, channel: object, frame: Any) -> None:
        if channel is not self._channel:
            return
        method = frame.method
        self._heard = time.monotonic()
        confirmed = method.NAME == "Basic.Ack"
        if not method.multiple:
            tags = [method.delivery_tag]
        else:
            tags = []
            for tag in self._under_way:  # in the order of publishing
                if tag > method.delivery_tag:
                    break
                tags.append(tag)
        for tag in tags:
            parcel = self._under_way.pop(tag)
            if confirmed and not parcel.returned:
                parcel.done()
            else:
                self._put_off(parcel)
        self.flush()

    def _returned(self, channel: object, method: Any, _properties: object, body: bytes) -> None:
        """The queue is not there: its "confirm" will follow all the same. Make it anew."""
        if channel is not self._channel:
            return
        log.error("RabbitMQ has no queue %s: it is declared again", method.routing_key, extra={"action": "no_queue"})
        for parcel in self._under_way.values():
            if parcel.queue == method.routing_key and parcel.body == body and not parcel.returned:
                parcel.returned = True
                break
        if self._channel is not None and self._channel.is_open:
            declare(self._channel, method.routing_key, lambda _: None)

    def _put_off(self, parcel: Parcel) -> None:
        parcel.refusals += 1
        if parcel.refusals % REFUSALS == 0:
            self._renew(f"messages for {parcel.queue} are refused")
        self._refused.append(parcel)
        if len(self._refused) == 1:
            self._link.later(AGAIN, self._again)

    def _again(self) -> None:
        self._waiting.extendleft(reversed(self._refused))
        self._refused.clear()
        self.flush()
