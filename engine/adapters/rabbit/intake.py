"""What comes from the queues of messages, and what is acknowledged.

Only for the connection's thread, unless it says otherwise.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from pika.channel import Channel
from pika.exceptions import AMQPError

from engine.adapters.rabbit.link import Link
from engine.adapters.rabbit.outbox import Outbox, Parcel
from engine.adapters.rabbit.room import Room, Ticket
from engine.adapters.rabbit.topology import BULK, RETURNS, SUSPECTS
from engine.model.message import decode, encode
from engine.ports import Delivery

log = logging.getLogger(__name__)

LONGEST_WAIT = 60.0
"""Seconds a delivery waits here for its turn; then it goes to the end of a queue. The broker closes the channel
when one is not acknowledged within half an hour."""


class Intake:
    def __init__(self, link: Link, outbox: Outbox, room: Room, queues: Sequence[str]) -> None:
        self._link = link
        self._outbox = outbox
        self._room = room
        self._queues = queues
        self._channel: Channel | None = None
        self._generation = 0
        self._prefetch = 0
        self._moving: dict[Ticket, Parcel] = {}
        self._asked: list[tuple[Sequence[str], Future[dict[str, int]]]] = []

    def up(self, channel: Channel, generation: int) -> None:
        self._channel, self._generation = channel, generation
        self._room.lost(generation)
        channel.add_on_cancel_callback(lambda _: self._link.cut("a queue was deleted"))
        if self._prefetch:
            self._subscribe()
        for queues, answers in self._asked:
            self._ask(queues, answers)

    def down(self) -> None:
        self._channel = None
        self._room.lost(self._generation + 1)
        for parcel in self._moving.values():
            parcel.wanted = False
        self._moving.clear()

    def holds(self, delivery: Delivery) -> bool:
        """From any thread: whether it is still ours, as far as we know."""
        return self._channel is not None and delivery.tag.generation == self._generation

    # -- consuming

    def subscribe(self, prefetch: int) -> None:
        self._prefetch = prefetch
        self._subscribe()

    def _subscribe(self) -> None:
        channel = self._channel
        if channel is None or not channel.is_open or channel.consumer_tags:
            return
        channel.basic_qos(prefetch_count=self._prefetch)
        for queue in self._queues:
            channel.basic_consume(queue, partial(self._arrived, queue))

    def cancel(self, done: Callable[[], None]) -> None:
        """No further delivery arrives once `done` is called. What is here stays until it is settled or lost."""
        self._prefetch = 0
        channel = self._channel
        left = set(channel.consumer_tags) if channel is not None and channel.is_open else set()
        if channel is None or not left:
            done()
            return

        def cancelled(frame: Any) -> None:
            left.discard(frame.method.consumer_tag)
            if not left:
                done()

        for tag in list(left):
            channel.basic_cancel(tag, cancelled)

    def _arrived(self, queue: str, _channel: object, method: Any, properties: Any, body: bytes) -> None:
        returned = int((properties.headers or {}).get("x-delivery-count") or 0)
        ticket = Ticket(queue, method.delivery_tag, self._generation)
        try:
            message = decode(body)
        except (ValueError, TypeError) as error:  # of a newer release: kept back from this process
            log.error("a message cannot be read: %s", error, extra={"action": "unreadable"})  # noqa: TRY400
            return
        delivery = Delivery(message, ticket, method.redelivered or returned > 0, returned)
        suspected = returned >= RETURNS and queue != SUSPECTS
        if not self._room.arrive(delivery, suspected=suspected):
            self._move(delivery, body, SUSPECTS if suspected else BULK)

    def ask_lengths(self, queues: Sequence[str], answers: Future[dict[str, int]]) -> None:
        """As soon as there is a connection."""
        self._asked.append((queues, answers))
        self._ask(queues, answers)

    def _ask(self, queues: Sequence[str], answers: Future[dict[str, int]]) -> None:
        if self._channel is None or not self._channel.is_open:
            return
        found: dict[str, int] = {}

        def counted(frame: Any) -> None:
            found[frame.method.queue] = frame.method.message_count
            if len(found) == len(queues):
                self._asked.remove((queues, answers))
                answers.set_result(found)

        for queue in queues:
            self._channel.queue_declare(queue, passive=True, callback=counted)

    # -- elsewhere

    def _move(self, delivery: Delivery, body: bytes, queue: str) -> None:
        parcel = Parcel(queue, body, partial(self._moved, delivery))
        self._moving[delivery.tag] = parcel
        self._outbox.send(parcel)
        self._outbox.flush()

    def _moved(self, delivery: Delivery) -> None:
        if self._moving.pop(delivery.tag, None) is not None and self._acknowledge(delivery):
            self._room.gone(delivery)

    def move_old(self) -> None:
        """Those that have waited too long for their turn."""
        if self._channel is None or not self._prefetch or not self._link.may_publish:
            return
        for delivery in self._room.older(time.monotonic() - LONGEST_WAIT):
            to = BULK if delivery.tag.queue != SUSPECTS else SUSPECTS
            self._move(delivery, encode(delivery.message), to)

    # -- ends

    def acknowledge(self, delivery: Delivery) -> bool:
        """False when it is lost."""
        if not self._acknowledge(delivery):
            return False
        self._room.ended(delivery)
        return True

    def _acknowledge(self, delivery: Delivery) -> bool:
        if self._channel is None or delivery.tag.generation != self._generation:
            return False
        try:
            self._channel.basic_ack(delivery.tag.number)
        except AMQPError:  # the channel is ending
            return False
        return True

    def ended(self, delivery: Delivery) -> None:
        """From any thread: nothing works on it any more, and it is lost."""
        self._room.ended(delivery)
