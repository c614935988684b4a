"""Named locks of connectors (engine.md §3 "lock"): a courtesy between steps, over the Cache.

A step that does not get its lock soon gives its thread back; its message comes again a little later,
without using up an attempt, until the time it may wait is over (design.md §3).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

from engine.errors import LockNotAcquired, Unavailable
from engine.ports import Cache

LOCK_PATIENCE = 0.2
"""Seconds a step waits for a lock on its thread before it gives the thread back."""

LOCK_UNTIL = "lockUntil"


class LockBusy(Exception):
    """The call is to be made again a little later, until `until` (epoch ms) at most."""

    def __init__(self, until: int) -> None:
        super().__init__(until)
        self.until = until


def take(
    cache: Cache,
    name: str,
    now: Callable[[], int],
    ttl: int,
    retry_delay: int,
    until: int,
    *,
    may_give_back: Callable[[], bool],
) -> str:
    """Take the lock; returns the owner's token. `ttl` and `retry_delay` are ms, `until` epoch ms.

    While the Cache is away nobody gets a lock. Raises LockNotAcquired after `until`, LockBusy when the message had
    better come again.
    """
    owner = uuid.uuid4().hex
    begun = time.monotonic()
    pause = 0.005
    while (holder := _holder(cache, name, owner, ttl)) is not None:
        if now() >= until:
            raise LockNotAcquired(f"the lock {_short(name)!r} {holder}")
        if time.monotonic() - begun > LOCK_PATIENCE and may_give_back():
            raise LockBusy(until)
        time.sleep(min(pause, retry_delay / 1000))
        pause = min(pause * 2, 0.05)
    return owner


def _holder(cache: Cache, name: str, owner: str, ttl: int) -> str | None:
    """What is in the way, in words; None when the lock is taken."""
    try:
        return None if cache.lock(name, owner, ttl / 1000) else "is held by another step"
    except Unavailable as error:  # it may be held
        return f"cannot be taken: {error.message}"


def extend(cache: Cache, name: str, owner: str, milliseconds: int) -> None:
    """Raises LockNotAcquired when the lock ran out and somebody else has it."""
    if not cache.lock(name, owner, milliseconds / 1000):
        raise LockNotAcquired(f"the lock {_short(name)!r} was lost: it ran out before it was extended")


def _short(name: str) -> str:
    return name.partition(":")[2]
