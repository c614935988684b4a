"""The machine's clock, except that it never goes back.

Timers, retries and ticks are due at a time. If the machine's clock is set back by an hour, they would stand
still for an hour, and what has just fired could be due again. So when that happens this clock goes on by itself, a
tenth slower than the time that really passes, until the machine's clock has caught up with it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

NS = 1_000_000_000
JITTER = NS
"""Steps back of up to a second are waited out: threads read the clock at the same time, and it is corrected often."""


class SystemClock:
    """`wall` and `steady` give nanoseconds: the machine's clock, and one that only counts."""

    def __init__(self, wall: Callable[[], int] = time.time_ns, steady: Callable[[], int] = time.monotonic_ns) -> None:
        self._wall = wall
        self._steady = steady
        self._last = 0
        self._ahead: tuple[int, int] | None = None
        """While the machine's clock is behind: (our time, the steady clock) when that was found."""
        self._lock = threading.Lock()

    def now(self) -> int:
        """Epoch milliseconds."""
        wall = self._wall()
        if wall >= self._last and self._ahead is None:
            self._last = wall
            return wall // 1_000_000
        return self._behind(wall) // 1_000_000

    def _behind(self, wall: int) -> int:
        with self._lock:
            if self._ahead is None:
                if wall > self._last - JITTER:
                    return self._last
                text = "the machine's clock was set back by %.0f s; time goes on from where it was"
                log.warning(text, (self._last - wall) / NS, extra={"action": "clock_set_back"})
                self._ahead = (self._last, self._steady())
            began, at = self._ahead
            ours = began + (self._steady() - at) * 9 // 10
            if wall < ours:
                self._last = ours
                return ours
            self._ahead = None
            self._last = wall
            return wall
