"""Brakes on guessing passwords: failures are counted per account and address (design-browser.md §2).

Successes never count, so a thousand users behind one address are not locked out.
"""

from __future__ import annotations

import hashlib

from engine.errors import TooManyRequests
from engine.ports import Cache

WINDOW = 15 * 60.0
ALLOWED = 10


class Attempts:
    """`purpose` keeps sign-in and sign-up apart."""

    def __init__(self, cache: Cache, purpose: str, account: str, address: str) -> None:
        digest = hashlib.sha256(f"{account.strip().lower()}\0{address}".encode()).hexdigest()
        self._cache = cache
        self._key = f"attempts:{purpose}:{digest}"

    def check(self) -> None:
        """Raises TooManyRequests after ten failures within a quarter of an hour."""
        if int(self._cache.get(self._key) or 0) >= ALLOWED:
            raise TooManyRequests("too many failed attempts for this user; wait 15 minutes and try again")

    def failed(self) -> None:
        self._cache.incr(self._key, 1, WINDOW)

    def succeeded(self) -> None:
        self._cache.delete(self._key)
