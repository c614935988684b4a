"""The housekeeping part of the timers role: clears away what has run out, on a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

log = logging.getLogger(__name__)

EVERY = 60.0
PAUSE = 0.02
"""Seconds between two pieces, in which the database is left to the flows."""


class Housekeeper:
    """`pieces` begins a round, about once a minute."""

    def __init__(self, pieces: Callable[[], Iterator[None]]) -> None:
        self._pieces = pieces
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.wait(EVERY):
            try:
                for _ in self._pieces():
                    if self._stopping.wait(PAUSE):
                        return
            except Exception:  # the next round tries again; nothing waits for this thread
                log.exception("housekeeping failed", extra={"action": "housekeeping_failed"})

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self, grace: float) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(grace)
