"""The timers role: publishes what is due."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from engine.errors import HeadraceError
from engine.services.timers import BATCH, Timers

log = logging.getLogger(__name__)

RESOLUTION = 0.1
RESUME = 60.0


class TimerWorker:
    """`resume` is called about once a minute: it puts right what a process that died left half done."""

    def __init__(self, timers: Timers, resume: Callable[[], object]) -> None:
        self._timers = timers
        self._resume = resume
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="timers", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        resumed = time.monotonic()
        while not self._stopping.is_set():
            pause = RESOLUTION
            try:
                if self._timers.fire_due() == BATCH:
                    continue
                if time.monotonic() - resumed > RESUME:
                    resumed = time.monotonic()
                    self._resume()
            except HeadraceError as error:
                log.warning("timers wait: %s", error, extra={"action": "timers_failed"})
                pause = 1.0
            except Exception:  # one bad timer, or a bug: the others must still fire
                log.exception("timers failed", extra={"action": "timers_failed"})
                pause = 1.0
            self._stopping.wait(pause)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self, grace: float) -> None:
        self._stopping.set()
        self._thread.join(grace)
