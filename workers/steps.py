"""The steps role: takes deliveries from the bus, executes them on threads, settles them.

Two pools (design.md §4 "Threads"): a few threads for messages whose step stays inside, many for
those that call the outside world. A watchdog gives up steps over their limit.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from engine.errors import HeadraceError
from engine.model.message import Message
from engine.ports import Bus, Claims, Delivery
from engine.services.execution import Execution
from engine.services.health import Metrics
from engine.services.outcome import Outcome
from engine.services.plans import Plans
from engine.services.suspects import Suspects
from workers.trials import Trials

log = logging.getLogger(__name__)

INSIDE_THREADS = 16
PREFETCH_MORE = 200
SETTLE_AGAIN = 1.0


@dataclass(slots=True)
class Job:
    """A delivery on a thread. `over` is set once, under the worker's lock: finished or given up."""

    delivery: Delivery
    started: float = 0.0
    over: bool = False
    external: bool = True


class After(Protocol):
    def __call__(self, message: Message, outcome: Outcome, /) -> None: ...


class StepWorker:
    """`on_exhausted` is called when so many steps hang that the process had better start anew."""

    def __init__(
        self,
        *,
        bus: Bus,
        execution: Execution,
        plans: Plans,
        after: After,
        metrics: Metrics,
        threads: int,
        limit: float,
        claims: Claims,
        suspects: Suspects,
        on_exhausted: Callable[[], None],
    ) -> None:
        self._bus = bus
        self._execution = execution
        self._plans = plans
        self._after = after
        self._metrics = metrics
        self._threads = threads
        self._limit = limit
        self._on_exhausted = on_exhausted
        self._inside: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._outside: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._running: dict[int, Job] = {}
        self._idle = threading.Condition(self._lock)
        self._unsettled = 0
        self._given_up = 0
        self._spawned = 0
        self._outside_waiting = 0
        self._outside_idle = 0
        self._stopping = threading.Event()
        self._claims = claims
        self._suspects = suspects
        self._trials = Trials(execution, self._take, self._put_away, self.wait_idle, self._consume)

    def start(self) -> None:
        for _ in range(INSIDE_THREADS):
            self._spawn(self._inside)
        threading.Thread(target=self._watch, name="step watchdog", daemon=True).start()
        self._trials.begin(self._suspects.find())

    def _consume(self) -> None:
        self._bus.consume(self._take, self._threads + PREFETCH_MORE, self._share)

    def _share(self, flow_id: str) -> int:
        """One flow may hold at most half of the pool, or what the flow itself is limited to."""
        limit = self._plans.concurrency(flow_id)
        half = max(1, self._threads // 2)
        return half if limit is None else min(half, limit)

    def _spawn(self, work: queue.SimpleQueue[Job | None]) -> None:
        threading.Thread(target=self._work, args=(work,), name="steps", daemon=True).start()

    def _take(self, delivery: Delivery) -> None:
        with self._lock:
            self._unsettled += 1
        self._start(delivery)

    def _put_away(self, delivery: Delivery, outcome: Outcome) -> None:
        with self._lock:
            self._unsettled += 1
        self._settle(delivery, outcome)

    def _start(self, delivery: Delivery) -> None:
        try:
            external = self._execution.is_external(delivery.message)
        except HeadraceError:
            external = True  # what is wrong will show again when it runs
        job = Job(delivery, external=external)
        if not external:
            self._inside.put(job)
            return
        with self._lock:
            self._outside_waiting += 1
            more = self._outside_waiting > self._outside_idle and self._spawned < self._threads
            self._spawned += more
            self._outside_idle += more
        if more:
            self._spawn(self._outside)
        self._outside.put(job)

    def _work(self, work: queue.SimpleQueue[Job | None]) -> None:
        while (job := work.get()) is not None:
            with self._lock:
                self._outside_waiting -= job.external
                self._outside_idle -= job.external
                job.started = time.monotonic()
                self._running[id(job)] = job
            outcome = self._run(job.delivery, job.external)
            with self._lock:
                self._running.pop(id(job), None)
                if job.over:
                    return  # given up meanwhile: another thread has taken this one's place
                job.over = True
                self._outside_idle += job.external
            if outcome is not None:
                self._settle(job.delivery, outcome)
            else:
                self._later(self._start, job.delivery)

    def _run(self, delivery: Delivery, external: bool) -> Outcome | None:
        """None when the platform itself is at fault (storage away, disk full): the message runs again later."""
        claim = self._claims.begin(delivery.message.id)
        try:
            return self._execution.run(delivery.message, external=int(external), again=delivery.redelivered)
        except Exception as error:
            extra = {"action": "delivery_failed", "flowId": delivery.message.flow_id, "id": delivery.message.id}
            if isinstance(error, HeadraceError) and error.retryable:
                log.warning("a delivery has to wait: %s", error, extra=extra)
            else:
                log.exception("a delivery failed and runs again", extra=extra)
            return None
        finally:
            self._claims.end(claim)

    def _later(self, work: Callable[..., None], *args: object) -> None:
        if not self._stopping.is_set():
            timer = threading.Timer(SETTLE_AGAIN, work, args)
            timer.daemon = True
            timer.start()

    # -- settling

    def _settle(self, delivery: Delivery, outcome: Outcome) -> None:
        try:
            done = self._bus.settle(delivery, outcome.settlement())
        except HeadraceError as error:  # the storage is closed
            log.error("a delivery could not be settled: %s", error, extra={"action": "settle_failed"})  # noqa: TRY400
            self._later(self._settle, delivery, outcome)
            return
        ended = time.monotonic()

        def settled(_: object) -> None:
            error = done.exception()
            if error is not None:
                # Not durable: keep the result and offer it again. Nothing is acknowledged, nothing is lost.
                log.error("a delivery could not be settled: %s", error, extra={"action": "settle_failed"})
                self._later(self._settle, delivery, outcome)
                return
            self._metrics.settle_seconds.observe(time.monotonic() - ended)
            self._after(delivery.message, outcome)
            with self._lock:
                self._unsettled -= 1
                self._idle.notify_all()

        done.add_done_callback(settled)

    # -- steps over their limit

    def _watch(self) -> None:
        while not self._stopping.wait(min(1.0, self._limit / 4)):
            now = time.monotonic()
            with self._lock:
                late = [job for job in self._running.values() if now - job.started > self._limit]
                for job in late:
                    job.over = True
                    self._running.pop(id(job), None)
            for job in late:
                self._give_up(job)

    def _give_up(self, job: Job) -> None:
        message = job.delivery.message
        extra = {"action": "step_given_up", "flowId": message.flow_id, "componentId": message.component_id}
        log.error("a step was over its limit of %g s and was given up", self._limit, extra=extra)
        self._metrics.given_up.inc()
        self._given_up += 1
        self._settle(job.delivery, self._execution.abandon(message, f"no answer within {self._limit:g} seconds"))
        self._spawn(self._outside if job.external else self._inside)
        if self._given_up * 4 > self._threads:
            self._on_exhausted()

    # -- drain

    def wait_idle(self, seconds: float) -> bool:
        """Until nothing is under way; False when that took longer."""
        with self._lock:
            return self._idle.wait_for(lambda: self._unsettled == 0, seconds)

    def stop(self, grace: float) -> bool:
        """Take nothing new and wait for what runs. False when something was still running at the end."""
        self._trials.stop()
        self._bus.stop_consuming()
        clean = self.wait_idle(grace)
        self._stopping.set()
        for _ in range(self._spawned):
            self._outside.put(None)
        for _ in range(INSIDE_THREADS):
            self._inside.put(None)
        return clean
