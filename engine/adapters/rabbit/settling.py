"""How a settlement becomes durable on servers that know nothing of each other: in an order that loses nothing.

    write        documents and state, many settlements in one bulk
    send         messages and log records; all must be confirmed
    write_last   documents that say all this is done
    acknowledge  the delivery is removed from its queue
    finish       whoever waits is told

A process may die between any two of these, or during one. What comes before is then there and is found by its
ids when the delivery comes again, as it was never acknowledged. If there is no delivery, nobody has been told
that it succeeded, and `write_last` has not said so either.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

from engine.adapters.rabbit.depths import Depths
from engine.adapters.rabbit.intake import Intake
from engine.adapters.rabbit.link import Link
from engine.adapters.rabbit.outbox import Outbox, Parcel
from engine.adapters.rabbit.records import Packer
from engine.adapters.rabbit.topology import BULK, shard
from engine.adapters.rabbit.writer import Writer
from engine.errors import DeliveryLost, HeadraceError, Unavailable
from engine.model.message import Message
from engine.ports import Delivery, StateChange, Write

log = logging.getLogger(__name__)

PATIENCE, LONG_PATIENCE = 5.0, 15.0
"""Seconds that a caller waits for the broker: when it is known to be away or blocked, and when it is not."""


@dataclass(slots=True, eq=False)
class Job:
    """One settlement on its way. `records` are JSON texts, see `records.pieces`."""

    delivery: Delivery | None
    messages: Sequence[tuple[Message, bytes]]
    records: Sequence[bytes]
    writes: Sequence[Write]
    states: Sequence[StateChange]
    last: Sequence[Write]
    future: Future[None] = field(default_factory=Future)
    began: float = field(default_factory=time.monotonic)
    parcels: list[Parcel] = field(default_factory=list)
    unconfirmed: int = 0
    over: bool = False


class Pipeline:
    """`settle` may be called from any thread; from `send` on everything is on the connection's."""

    def __init__(
        self, link: Link, outbox: Outbox, packer: Packer, intake: Intake, depths: Depths, writer: Writer
    ) -> None:
        self._link = link
        self._outbox = outbox
        self._packer = packer
        self._intake = intake
        self._depths = depths
        self._writer = writer
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._jobs: dict[Job, None] = {}
        self._closed: str | None = None
        self._told: queue.SimpleQueue[tuple[Future[None], Exception | None] | None] = queue.SimpleQueue()
        self._teller = threading.Thread(target=self._tell, name="rabbit settled", daemon=True)
        self._teller.start()

    def settle(self, job: Job) -> None:
        with self._lock:
            if self._closed is not None:
                raise Unavailable(self._closed)
            self._jobs[job] = None
        if job.delivery is None and (why := self._link.blocked) is not None:
            self.fail(job, Unavailable(why))
        elif job.delivery is not None and not self._intake.holds(job.delivery):
            self.fail(job, _lost())
        else:
            self.write(job)

    # -- the stages

    def write(self, job: Job) -> None:
        if job.writes or job.states:
            self._writer.submit(job.writes, job.states, partial(self._written, job, self.send))
        else:
            self._link.call(partial(self.send, job))

    def _written(self, job: Job, then: Callable[[Job], None], error: Exception | None) -> None:
        """On the writer's thread."""
        if error is not None:
            self.fail(job, error)
        else:
            self._link.call(partial(then, job))

    def send(self, job: Job) -> None:
        if job.over:
            return
        if job.delivery is not None and not self._intake.holds(job.delivery):
            self.fail(job, _lost())
            return
        job.unconfirmed = len(job.messages) + len(job.records)
        for message, body in job.messages:
            queue_name = BULK if self._depths.is_crowded(message.flow_id) else shard(message.flow_id)
            parcel = Parcel(queue_name, body, partial(self._confirmed, job, message.flow_id))
            job.parcels.append(parcel)
            self._outbox.send(parcel)
        for text in job.records:
            self._packer.add(text, partial(self._confirmed, job, None))
        if not job.unconfirmed:
            self.write_last(job)

    def _confirmed(self, job: Job, flow_id: str | None) -> None:
        if flow_id is not None:
            self._depths.add(flow_id, 1)
        job.unconfirmed -= 1
        if not job.unconfirmed and not job.over:
            self.write_last(job)

    def write_last(self, job: Job) -> None:
        if job.last:
            self._writer.submit(job.last, (), partial(self._written, job, self.acknowledge))
        else:
            self.acknowledge(job)

    def acknowledge(self, job: Job) -> None:
        if job.over:
            return
        if job.delivery is None:
            self.finish(job)
        elif self._intake.acknowledge(job.delivery):
            self._depths.add(job.delivery.message.flow_id, -1)
            self.finish(job)
        else:
            self.fail(job, _lost())

    def finish(self, job: Job) -> None:
        self._end(job, None)

    # -- ends

    def fail(self, job: Job, error: Exception) -> None:
        """From any thread. What has not been published yet is not published any more."""
        for parcel in job.parcels:
            parcel.wanted = False
        if isinstance(error, DeliveryLost) and job.delivery is not None:
            self._intake.ended(job.delivery)
        self._end(job, error)

    def _end(self, job: Job, error: Exception | None) -> None:
        with self._lock:
            if job.over:
                return
            job.over = True
            self._jobs.pop(job, None)
            if not self._jobs:
                self._idle.notify_all()
        self._told.put((job.future, error))

    def _tell(self) -> None:
        """What follows a settlement may take its time: not on the broker's thread."""
        while (item := self._told.get()) is not None:
            future, error = item
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(None)

    def down(self) -> None:
        """The connection is lost: so are all deliveries. What belongs to none is sent again by the outbox."""
        for job in self._unfinished():
            if job.delivery is not None:
                self.fail(job, _lost())

    def expire(self) -> None:
        """Callers are not kept waiting for ever; whether the broker has their messages is not known then."""
        why = self._link.blocked
        before = time.monotonic() - (LONG_PATIENCE if why is None else PATIENCE)
        for job in self._unfinished():
            if job.began > before:
                return
            if job.delivery is None:
                self.fail(job, Unavailable(why or f"it did not become durable within {LONG_PATIENCE:.0f} seconds"))

    def _unfinished(self) -> list[Job]:
        with self._lock:
            return list(self._jobs)

    def wait_idle(self, seconds: float) -> bool:
        with self._lock:
            return self._idle.wait_for(lambda: not self._jobs, seconds)

    def refuse(self, why: str) -> None:
        """No further settlement is taken: `settle` raises Unavailable."""
        with self._lock:
            self._closed = why

    def close(self) -> None:
        """Whoever still waits is told that it is too late; call it when nothing works on a job any more."""
        for job in self._unfinished():
            self.fail(job, Unavailable(self._closed or "the bus is closed"))
        self._told.put(None)
        self._teller.join()


def _lost() -> HeadraceError:
    return DeliveryLost("the connection to RabbitMQ was lost meanwhile: the message comes again")
