"""The cache of the cluster: one Redis for all processes, or a compatible server.

It holds nothing that must not be lost. While it is away commands fail at once with Unavailable, and its users go on:

    answers to webhook calls           through Documents, read a few times a second (engine.services.replies)
    plans, modifiers, cancelled        read again when notices may have been lost, and every second until then
    webhook calls with a key           one whose first call is durable gets its answer, others 503 (…repetitions)
    a connector's lock                 as if somebody else held it (engine.services.locking)
    quota slots                        the message waits on its worker without using up an attempt (workers.steps)
    uploads in parts                   503, the part is sent again (engine.services.files)
    values that connectors keep        not found, not kept (engine.services.context)
    brakes on sign-in and sign-up      each process counts for itself (webapp.limits)
    live pages                         show news when it is back (webapp.stream)

What was given up meanwhile (locks, slots) is given up when it is back. If it comes back empty, locks are free, counters
begin anew, and a quota may be exceeded by the calls that were under way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from engine.adapters.embedded.cache import encoded
from engine.adapters.redis_cache.link import TIMEOUT, Link
from engine.adapters.redis_cache.notices import Notices
from engine.adapters.redis_cache.scripts import ACQUIRE, INCR, LOCK, RELEASE, UNLOCK, Script
from engine.adapters.subscribers import Handler
from engine.errors import BadRequest, Unavailable

PREFIX = "headrace:"
MAX_OWED = 10_000
"""Locks and slots given up while Redis was away; beyond that they lapse by themselves."""

VALUE, LOCKS, SLOTS, CHANNEL = "v:", "l:", "s:", "c:"
"""What follows the prefix in the names of values and counters, locks, slots, and channels."""


class RedisCache:
    """`ports.Cache`. Connects when it is first used, so it may be made while Redis is away.

    Whatever begins with `prefix` is ours: several installations can share one Redis. Everything kept has a time to
    live, so Redis must not be set to throw out other keys when it is full (`maxmemory-policy noeviction`, or
    `volatile-ttl`). Times are those of the server. Make it after a fork: the thread that listens begins with
    the first subscriber.
    """

    def __init__(self, url: str, *, prefix: str = PREFIX, timeout: float = TIMEOUT) -> None:
        """Raises BadRequest when `url` is not one of a Redis."""
        self._prefix = prefix
        self._link = Link(url, lambda: self._notices.look(), timeout=timeout)
        self._notices = Notices(self._link, prefix + CHANNEL, self._pay)
        self._owed: deque[tuple[Script, Sequence[bytes], str]] = deque(maxlen=MAX_OWED)

    @property
    def trouble(self) -> str | None:
        """Why Redis cannot be used now, if that is so; known after the first command that failed."""
        trouble = self._link.trouble
        return trouble.message if trouble is not None else None

    def close(self) -> None:
        self._notices.close()
        self._link.close()

    def _key(self, kind: str, name: str) -> bytes:
        return f"{self._prefix}{kind}{name}".encode("utf-8", "surrogatepass")

    # -- values

    def get(self, key: str) -> Any:
        data = self._link.call("GET", self._key(VALUE, key))
        return None if data is None else orjson.loads(data)

    def set(self, key: str, value: Any, ttl: float) -> None:
        """Raises BadRequest when `value` is not JSON."""
        self._link.call("SET", self._key(VALUE, key), encoded(key, value), "PX", _ms(ttl))

    def add(self, key: str, value: Any, ttl: float) -> bool:
        """Raises BadRequest when `value` is not JSON."""
        answer = self._link.call("SET", self._key(VALUE, key), encoded(key, value), "PX", _ms(ttl), "NX")
        return answer is not None

    def delete(self, *keys: str) -> None:
        if keys:
            self._link.call("DEL", *(self._key(VALUE, key) for key in keys))

    def incr(self, key: str, by: int, ttl: float) -> int:
        """The new count. `ttl` runs from the first call, so a counter is a window of fixed length."""
        try:
            count: int = self._link.run(INCR, [self._key(VALUE, key)], by, _ms(ttl))
        except Unavailable as error:
            if "integer" in str(error.__cause__):
                text = f"cache key {key!r} holds no whole number, so it cannot be counted up"
                raise BadRequest(text) from error.__cause__
            raise
        return count

    # -- locks

    def lock(self, name: str, owner: str, ttl: float) -> bool:
        return bool(self._link.run(LOCK, [self._key(LOCKS, name)], owner, _ms(ttl)))

    def unlock(self, name: str, owner: str) -> bool:
        """False when `owner` does not hold it (any more), or while Redis is away."""
        return bool(self._give_up(UNLOCK, [self._key(LOCKS, name)], owner))

    def _give_up(self, script: Script, keys: Sequence[bytes], holder: str) -> Any:
        try:
            return self._link.run(script, keys, holder)
        except Unavailable:
            self._owed.append((script, keys, holder))
            return None

    def _pay(self) -> None:
        """Redis is back: give up what could not be given up meanwhile."""
        for _ in range(len(self._owed)):
            self._give_up(*self._owed.popleft())

    # -- publish and subscribe

    def publish(self, channel: str, text: str) -> None:
        self._notices.publish(channel, text)

    def subscribe(self, channel: str, handler: Handler) -> Callable[[], None]:
        """Notices of other processes come on one thread for all handlers; one that raises is logged."""
        return self._notices.subscribe(channel, handler)

    # -- slots

    def acquire_slot(self, key: str, ticket: str, limit: int, ttl: float) -> bool:
        """Both a slot and a place in the queue lapse `ttl` seconds after the last call for them."""
        return bool(self._link.run(ACQUIRE, self._slots(key), ticket, limit, _ms(ttl)))

    def release_slot(self, key: str, ticket: str) -> None:
        self._give_up(RELEASE, self._slots(key), ticket)

    def _slots(self, key: str) -> list[bytes]:
        return [self._key(SLOTS, f"{key}:{part}") for part in ("holders", "places", "lapses")]


def _ms(seconds: float) -> int:
    """Redis takes no time to live below a millisecond."""
    return max(1, round(seconds * 1000))
