"""The steps role: takes deliveries from the bus, executes them on threads, settles them.

Two pools (design.md §4 "Threads"): a few threads for messages whose step stays inside, many for
those that call the outside world. A watchdog gives up steps over their limit. A message whose handling
fails, which is the platform's fault and not its step's, is tried again a few times and then put away.
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
from engine.services.records import describe
from engine.services.suspects import Suspects
from workers.trials import Trials

log = logging.getLogger(__name__)

INSIDE_THREADS = 16
PREFETCH_MORE = 200

AGAIN, LONGEST = 1.0, 5.0
"""Seconds before what failed is tried again; the pause doubles up to the longest."""

HANDLING_TRIES = 5
"""How often the handling of one message may fail. What the platform lacks at the moment is waited for instead."""

HANDLING_FAILED = "HANDLING_FAILED"


@dataclass(slots=True)
class Job:
    """A delivery on a thread. `over` is set once, under the worker's lock: finished or given up.

    `failed` tries of it came to nothing, `waited` times something was away; `refused`: its result cannot be stored.
    """

    delivery: Delivery
    started: float = 0.0
    over: bool = False
    external: bool = True
    failed: int = 0
    waited: int = 0
    refused: bool = False


def pause_before(tries: int) -> float:
    """Seconds before the next try when so many have failed, at least one."""
    return min(AGAIN * 2.0 ** min(tries - 1, 30), LONGEST)


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
        self._exhausted = False
        self.hanging = 0
        """Steps that were given up and have not ended yet: each holds a thread."""
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
        self._start(Job(delivery))

    def _put_away(self, delivery: Delivery, outcome: Outcome) -> None:
        with self._lock:
            self._unsettled += 1
        self._settle(Job(delivery), outcome)

    def _start(self, job: Job) -> None:
        try:
            job.external = self._execution.is_external(job.delivery.message)
        except HeadraceError:
            job.external = True  # what is wrong will show again when it runs
        if not job.external:
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
            result = self._run(job)
            with self._lock:
                self._running.pop(id(job), None)
                if job.over:
                    self.hanging -= 1
                    return  # given up meanwhile: another thread has taken this one's place
                job.over = True
                self._outside_idle += job.external
            if isinstance(result, Outcome):
                self._settle(job, result)
            else:
                self._failed(job, result)

    def _run(self, job: Job) -> Outcome | Exception:
        """What came of it, or why the platform itself could not handle it."""
        delivery = job.delivery
        claim = self._claims.begin(delivery.message.id)
        try:
            return self._execution.run(
                delivery.message, external=int(job.external), again=delivery.redelivered, over=lambda: job.over
            )
        except Exception as error:  # noqa: BLE001 - told in _failed
            return error
        finally:
            self._claims.end(claim)

    def _failed(self, job: Job, error: Exception) -> None:
        """Try again later, or put the message away with the reason when that has been of no use."""
        message = job.delivery.message
        extra = {"action": "delivery_failed", "flowId": message.flow_id, "id": message.id}
        if isinstance(error, HeadraceError) and error.retryable:
            log.warning("a delivery has to wait: %s", error, extra=extra)
            waited = job.waited + 1
            self._later(waited, self._start, Job(job.delivery, failed=job.failed, waited=waited))
            return
        failed = job.failed + 1
        log.error("a delivery failed, try %d of %d", failed, HANDLING_TRIES, extra=extra, exc_info=error)
        if failed < HANDLING_TRIES:
            self._later(failed, self._start, Job(job.delivery, failed=failed, waited=job.waited))
        else:
            self._give_back(job, _reason(error), HANDLING_FAILED)

    def _give_back(self, job: Job, reason: str, code: str, tries: int = 1) -> None:
        """End the delivery without the result of its step."""
        try:
            outcome = self._execution.abandon(job.delivery.message, reason, code)
        except Exception:
            log.exception("a delivery cannot be given up yet", extra={"action": "give_up_failed"})
            self._later(tries, self._give_back, job, reason, code, tries + 1)
        else:
            self._settle(job, outcome)

    def _later(self, tries: int, work: Callable[..., None], *args: object) -> None:
        if not self._stopping.is_set():
            timer = threading.Timer(pause_before(tries), work, args)
            timer.daemon = True
            timer.start()

    # -- settling

    def _settle(self, job: Job, outcome: Outcome, tries: int = 1) -> None:
        try:
            done = self._bus.settle(job.delivery, outcome.settlement())
        except Exception as error:  # noqa: BLE001 - told in _unsettled_yet
            self._unsettled_yet(job, outcome, tries, error)
            return
        ended = time.monotonic()

        def settled(_: object) -> None:
            error = done.exception()
            if error is not None:
                self._unsettled_yet(job, outcome, tries, error)
                return
            self._metrics.settle_seconds.observe(time.monotonic() - ended)
            self._after(job.delivery.message, outcome)
            with self._lock:
                self._unsettled -= 1
                self._idle.notify_all()

        done.add_done_callback(settled)

    def _unsettled_yet(self, job: Job, outcome: Outcome, tries: int, error: BaseException) -> None:
        """Not durable: keep the result and offer it again. Nothing is acknowledged, nothing is lost."""
        log.error("a delivery could not be settled: %s", error, extra={"action": "settle_failed"})
        if isinstance(error, HeadraceError) or tries < HANDLING_TRIES:
            self._later(tries, self._settle, job, outcome, tries + 1)
        elif not job.refused:  # this result can never be stored
            job.refused = True
            self._later(1, self._give_back, job, _reason(error), HANDLING_FAILED)
        else:
            self._later(tries, self._settle, job, outcome, tries + 1)

    # -- steps over their limit

    def _watch(self) -> None:
        while not self._stopping.wait(min(1.0, self._limit / 4)):
            now = time.monotonic()
            with self._lock:
                late = [job for job in self._running.values() if now - job.started > self._limit]
                for job in late:
                    job.over = True
                    self._running.pop(id(job), None)
                    self.hanging += 1
                    self._outside_idle += job.external
            for job in late:
                self._give_up(job)

    def _give_up(self, job: Job) -> None:
        message = job.delivery.message
        extra = {"action": "step_given_up", "flowId": message.flow_id, "componentId": message.component_id}
        log.error("a step was over its limit of %g s and was given up", self._limit, extra=extra)
        self._metrics.given_up.inc()
        self._give_back(job, f"no answer within {self._limit:g} seconds", "RECEIVE_TIMEOUT")
        self._spawn(self._outside if job.external else self._inside)
        if self.hanging * 4 > self._threads and not self._exhausted:
            self._exhausted = True
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


def _reason(error: BaseException) -> str:
    return f"it could not be handled, in {HANDLING_TRIES} tries: {describe(error)['message']}"
