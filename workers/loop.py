"""Starts the roles of a process and ends them in order: consumers first, what drains them last."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterable

from engine.services.deleted import Deleted
from engine.services.waiting import Waiting
from engine.wiring import Platform
from workers.housekeeping import Housekeeper
from workers.indexer import Indexer
from workers.steps import StepWorker
from workers.timers import TimerWorker

log = logging.getLogger(__name__)

ROLES = ("steps", "timers", "indexer")
GRACE = 25.0


class Workers:
    def __init__(self, platform: Platform, roles: Iterable[str] = ROLES) -> None:
        self._platform = platform
        self.roles = tuple(roles)
        p = platform
        self._steps = StepWorker(
            bus=p.bus,
            execution=p.execution,
            plans=p.plans,
            after=p.aftermath,
            metrics=p.metrics,
            threads=p.settings.step_threads,
            limit=p.settings.receive_timeout,
            claims=p.claims,
            suspects=p.suspects,
            on_exhausted=restart_process,
        )
        self._timers = TimerWorker(p.timers, p.lifecycle.resume)
        self._housekeeper = Housekeeper(p.housekeeping.pieces)
        waiting = Waiting(p.documents, p.log_index, p.clock)
        deleted = Deleted(p.documents, p.cache, p.clock)
        self._indexer = Indexer(p.bus, p.log_index, p.cache, p.metrics, waiting, deleted)

    def start(self) -> None:
        if "steps" in self.roles:
            self._platform.lifecycle.resume()
            self._steps.start()
        if "timers" in self.roles:
            self._timers.start()
            self._housekeeper.start()
        if "indexer" in self.roles:
            self._indexer.start()
        self._platform.health.checks.append(self._check)
        log.info("workers started", extra={"action": "workers_started", "roles": ",".join(self.roles)})

    def _check(self) -> str | None:
        if "timers" in self.roles and not self._timers.alive:
            return "the timers role has stopped"
        if "timers" in self.roles and not self._housekeeper.alive:
            return "the housekeeping has stopped"
        if "indexer" in self.roles and not self._indexer.alive:
            return "the indexer role has stopped"
        if "indexer" in self.roles and self._indexer.trouble:
            return f"the run log waits: {self._indexer.trouble}"
        return None

    def stop(self, grace: float = GRACE) -> None:
        """Drain: what runs is settled, what was logged is indexed; the rest is found at the next start."""
        if "timers" in self.roles:
            self._timers.stop(grace)
            self._housekeeper.stop(grace)
        if "steps" in self.roles and not self._steps.stop(grace):
            log.warning("some steps were still running; they run again at the next start", extra={"action": "drain"})
        if "indexer" in self.roles:
            self._indexer.stop(grace)
        log.info("workers stopped", extra={"action": "workers_stopped"})


def restart_process() -> None:
    """Too many steps hang: end in order and let the supervisor start a new process."""
    log.error("too many steps hang; the process restarts", extra={"action": "restart"})
    os.kill(os.getpid(), signal.SIGTERM)


def run_until_signal(workers: Workers) -> None:
    """For a process that only works: start, wait for SIGTERM or SIGINT, drain."""
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    workers.start()
    done.wait()
    workers.stop()
