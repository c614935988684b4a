"""What processes share for a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

NOTICES_LOST = "notices-lost"
"""Channel of the Cache that every process announces to itself, with an empty text, when notices of other processes
may have been lost: who relies on notices then asks again for what they would have told. A handler that raises is
called again a little later. Never announced where all is in one process.
"""


class Cache(Protocol):
    """What processes share for a while and can do without: it may be lost at any moment, as a whole or the newest.

    While it is away all methods raise Unavailable but `unlock`, `release_slot`, `publish` and `subscribe`.
    `engine.adapters.redis_cache.cache` lists what its users do then.
    """

    def get(self, key: str) -> Any: ...
    def set(self, key: str, value: Any, ttl: float) -> None: ...
    def add(self, key: str, value: Any, ttl: float) -> bool:
        """Set it if there is no such value; whether that was so."""

    def delete(self, *keys: str) -> None: ...
    def incr(self, key: str, by: int, ttl: float) -> int:
        """The new count, starting at 0. `ttl` (seconds) runs from the first call: a window of fixed length."""

    def lock(self, name: str, owner: str, ttl: float) -> bool:
        """Take or renew; False while another owner holds it."""

    def unlock(self, name: str, owner: str) -> bool:
        """False when `owner` does not hold it, or it is not known. It is given up then as soon as that can be."""

    def publish(self, channel: str, text: str) -> None:
        """Subscribers in this process are called before this returns, those in others soon after, in most cases."""

    def subscribe(self, channel: str, handler: Callable[[str], None]) -> Callable[[], None]:
        """Call `handler` for each text, until the returned function is called. It should take a moment only."""

    def acquire_slot(self, key: str, ticket: str, limit: int, ttl: float) -> bool:
        """Join the first-in-first-out queue for one of `limit` slots; True once `ticket` holds one.

        Asking again keeps the place (or the slot) and renews it: both lapse after `ttl` seconds.
        """

    def release_slot(self, key: str, ticket: str) -> None:
        """Give a slot back, or leave the queue."""
