"""The timers role: publishes what is due, and once in a while clears away what has run out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from engine.errors import HeadraceError
from engine.services.timers import BATCH, Timers

log = logging.getLogger(__name__)

RESOLUTION = 0.1
HOUSEKEEPING = 60.0


class TimerWorker:
    """`housekeeping` is called about once a minute."""

    def __init__(self, timers: Timers, housekeeping: Callable[[], None]) -> None:
        self._timers = timers
        self._housekeeping = housekeeping
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="timers", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        cleared = time.monotonic()
        while not self._stopping.is_set():
            pause = RESOLUTION
            try:
                if self._timers.fire_due() == BATCH:
                    continue
                if time.monotonic() - cleared > HOUSEKEEPING:
                    cleared = time.monotonic()
                    self._housekeeping()
            except HeadraceError as error:
                log.warning("timers wait: %s", error, extra={"action": "timers_failed"})
                pause = 1.0
            self._stopping.wait(pause)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self, grace: float) -> None:
        self._stopping.set()
        self._thread.join(grace)
