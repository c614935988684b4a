"""`ports.Bus` on RabbitMQ (design.md §4): puts the parts of this folder together.

Threads: one does nothing but broker traffic (`link`). Beside it one stores documents (`writer`), one hands
deliveries out, one tells those who wait for a settlement, and one exchanges counts (`depths`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future

from pika.channel import Channel

from engine.adapters.rabbit.depths import Counters, Depths
from engine.adapters.rabbit.intake import Intake
from engine.adapters.rabbit.link import Link, Session
from engine.adapters.rabbit.outbox import Outbox
from engine.adapters.rabbit.records import Packer, Tray, pieces
from engine.adapters.rabbit.room import Room
from engine.adapters.rabbit.settling import Job, Pipeline
from engine.adapters.rabbit.topology import BULK, QUEUES, STEPS, SUSPECTS
from engine.adapters.rabbit.writer import Bulk, Writer
from engine.errors import Unavailable
from engine.model.message import Message, encode
from engine.ports import Delivery, LogBatch, Settlement, Write

log = logging.getLogger(__name__)

ANSWER = 5.0
"""Seconds the broker has to answer a question."""

DRAIN = 10.0
"""Seconds that settlements under way have when the bus is closed."""

STEP_QUEUES = (*STEPS, BULK)
"""What a worker consumes; `(SUSPECTS,)` with a prefetch of 1 is for the one that may die of it."""


class RabbitBus:
    """`url` names the nodes of one broker, by comma: amqp://user:password@host:port/vhost.

    Connecting takes place in the background, and begins here: make it after the fork. `settle_documents` stores
    documents and state, see `writer.Bulk`. `counters` are what all processes share; without them `depth` of a
    flow and its detour by the queue of crowded flows go by this process's own messages. `queues` are those
    that `consume` takes from.
    """

    def __init__(
        self,
        url: str,
        settle_documents: Bulk,
        *,
        counters: Counters | None = None,
        queues: Sequence[str] = STEP_QUEUES,
    ) -> None:
        self._link = Link(url, Session(self._up, self._down, self._turn, self._tick))
        self._outbox = Outbox(self._link)
        self._packer = Packer(self._outbox)
        self._room = Room()
        self._intake = Intake(self._link, self._outbox, self._room, queues)
        self._tray = Tray(self._link)
        self._depths = Depths(counters)
        self._writer = Writer(settle_documents)
        self._pipeline = Pipeline(self._link, self._outbox, self._packer, self._intake, self._depths, self._writer)
        self._dispatcher: threading.Thread | None = None
        self._closed = False
        self._link.start()

    @property
    def blocked(self) -> str | None:
        return self._link.blocked

    # -- on the connection's thread

    def _up(self, publish: Channel, consume: Channel, logs: Channel, generation: int) -> None:
        self._outbox.up(publish)
        self._intake.up(consume, generation)
        self._tray.up(logs, generation)
        self._turn()

    def _down(self) -> None:
        self._outbox.down()
        self._intake.down()
        self._tray.down()
        self._pipeline.down()

    def _turn(self) -> None:
        self._packer.flush()
        self._outbox.flush()

    def _tick(self) -> None:
        self._pipeline.expire()
        self._intake.move_old()
        self._outbox.watch()

    # -- publishing and settling

    def publish(self, messages: Sequence[Message]) -> Future[None]:
        return self.settle(None, Settlement(publishes=list(messages)))

    def settle(self, delivery: Delivery | None, settlement: Settlement) -> Future[None]:
        job = Job(
            delivery,
            [(message, encode(message)) for message in settlement.publishes],
            pieces(settlement.logs),
            settlement.writes,
            settlement.states,
            settlement.last,
        )
        self._pipeline.settle(job)
        return job.future

    # -- consuming

    def consume(
        self, handler: Callable[[Delivery], None], prefetch: int, share: Callable[[str], int] | None = None
    ) -> None:
        self._room.open(prefetch, share)
        self._dispatcher = threading.Thread(
            target=self._dispatch, args=(handler,), name="rabbit dispatcher", daemon=True
        )
        self._dispatcher.start()
        self._link.call(lambda: self._intake.subscribe(prefetch))

    def _dispatch(self, handler: Callable[[Delivery], None]) -> None:
        while (delivery := self._room.next()) is not None:
            try:
                handler(delivery)
            except Exception:  # it is not acknowledged; the others must not wait with it
                log.exception("a delivery was not taken", extra={"action": "delivery_failed"})

    def stop_consuming(self) -> None:
        self._room.shut()
        if self._dispatcher is None:
            return
        if self._dispatcher is not threading.current_thread():
            self._dispatcher.join()
        self._dispatcher = None
        cancelled = threading.Event()
        self._link.call(lambda: self._intake.cancel(cancelled.set))
        if self._link.is_up:  # else there is no consumer
            cancelled.wait(ANSWER)

    def take(self, ids: Sequence[str]) -> list[Delivery]:
        return []

    def depth(self, flow_id: str | None = None) -> int:
        """Raises Unavailable when the broker cannot be asked."""
        if flow_id is not None:
            return self._depths.of(flow_id)
        waiting = self.lengths()
        return sum(waiting[name] for name in (*STEP_QUEUES, SUSPECTS)) + len(self._room)

    def lengths(self) -> dict[str, int]:
        """Messages on each queue that have not been fetched by anybody. Raises Unavailable."""
        answers: Future[dict[str, int]] = Future()
        self._link.call(lambda: self._intake.ask_lengths(QUEUES, answers))
        try:
            return answers.result(ANSWER)
        except TimeoutError:
            raise Unavailable(self.blocked or "RabbitMQ does not say how long its queues are") from None

    def remove(
        self, flow_id: str, limit: int, keep: Callable[[Sequence[Message]], Iterable[Write]]
    ) -> tuple[list[Message], int]:
        return [], 0

    # -- log records

    def take_logs(self, limit: int, wait: float) -> LogBatch | None:
        return self._tray.take(limit, wait)

    def logs_done(self, batch: LogBatch) -> None:
        self._tray.done(batch)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self.stop_consuming()
        self._pipeline.refuse("the bus is closed")
        self._pipeline.wait_idle(DRAIN if self._link.may_publish else 0)
        self._writer.close()
        self._link.close()
        self._pipeline.close()
        self._depths.close()
