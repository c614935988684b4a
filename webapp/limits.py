"""How often somebody may try or call: brakes on guessing passwords, on signing up, and on webhooks (design.md §7)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from time import monotonic
from typing import Any

from engine.errors import TooManyRequests, Unavailable
from engine.ports import Cache

WINDOW = 15 * 60.0
ALLOWED = 10
HOUR = 3600.0

SWEEP_AT = 1000
"""Keys beyond which those of the past are looked for."""


class Attempts:
    """Failures per account and address (design-browser.md §2). `purpose` keeps sign-in and sign-up apart.

    Successes never count, so a thousand users behind one address are not locked out. While the Cache is away
    each process counts for itself, and every try: it cannot be known which of them fail elsewhere.
    """

    def __init__(self, cache: Cache, purpose: str, account: str, address: str) -> None:
        digest = hashlib.sha256(f"{account.strip().lower()}\0{address}".encode()).hexdigest()
        self._cache = cache
        self._key = f"attempts:{purpose}:{digest}"

    def check(self) -> None:
        """Raises TooManyRequests after ten failures within a quarter of an hour."""
        try:
            failures = int(self._cache.get(self._key) or 0)
        except Unavailable:
            _apart(ALLOWED, WINDOW, "attempts for this user").check(self._key)
            return
        if failures >= ALLOWED:
            text = "too many failed attempts for this user; wait 15 minutes and try again"
            raise TooManyRequests(text, details=[{"retryAfter": round(WINDOW)}])

    def failed(self) -> None:
        with suppress(Unavailable):
            self._cache.incr(self._key, 1, WINDOW)

    def succeeded(self) -> None:
        with suppress(Unavailable):
            self._cache.delete(self._key)


def check_sign_ups(cache: Cache, address: str, allowed: int) -> None:
    """Count a sign-up. Raises TooManyRequests beyond `allowed` (0: any number) an hour from one address."""
    if not allowed:
        return
    key = f"sign-ups:{address}"
    try:
        count = cache.incr(key, 1, HOUR)
    except Unavailable:
        _apart(allowed, HOUR, "users were created from your address").check(key)
        return
    if count > allowed:
        text = "too many users were created from your address; try again in an hour, or ask an administrator for one"
        raise TooManyRequests(text, details=[{"retryAfter": round(HOUR)}])


class Rate:
    """`per_second` calls for each key, of which `burst` seconds' worth may come at once. Of this process only.

    A key is one number: the moment at which its calls so far would all have come at their rate. Two
    threads may now and then count two calls as one; a lock would cost more than that is worth.
    """

    def __init__(self, per_second: float, burst: float, what: str) -> None:
        self._each = 1 / per_second if per_second else 0.0
        self._burst = burst
        self._what = what
        self._until: dict[str, float] = {}
        self._sweep_at = SWEEP_AT

    @property
    def limits(self) -> bool:
        return self._each > 0

    def __len__(self) -> int:
        return len(self._until)

    def check(self, key: str) -> None:
        """Count a call. Raises TooManyRequests."""
        each = self._each
        if not each:
            return
        now = monotonic()
        until = max(self._until.get(key, now), now) + each
        ahead = until - now - max(self._burst, each)  # the first call of all is always allowed
        if ahead > 1e-9:
            wait = int(ahead) + 1
            raise TooManyRequests(f"too many {self._what}; call again in {wait} s", details=[{"retryAfter": wait}])
        self._until[key] = until
        if len(self._until) > self._sweep_at:
            self._sweep(now)

    def _sweep(self, now: float) -> None:
        self._until = {key: until for key, until in list(self._until.items()) if until > now}
        self._sweep_at = max(SWEEP_AT, 2 * len(self._until))


@lru_cache
def _apart(allowed: int, seconds: float, what: str) -> Rate:
    """Counts in this process while the Cache is away; as many at once, then further ones at the same rate."""
    return Rate(allowed / seconds, seconds, what)


def caller_address(environ: Mapping[str, Any], proxies: int) -> str:
    """Who calls, for counting: an IPv4 address, or the network of 64 bits that an IPv6 address is in.

    With `proxies` in front, it is what the outermost of them saw and each inner one handed on; what
    stands before that in `X-Forwarded-For` anybody may have written.
    """
    connection = environ.get("REMOTE_ADDR") or ""
    if proxies:
        told = environ.get("HTTP_X_FORWARDED_FOR", "").split(",")
        if len(told) >= proxies:
            return _network(told[-proxies].strip()) or _network(connection)
    return _network(connection)


@lru_cache(maxsize=4096)
def _network(text: str) -> str:
    """Empty for what is no address; a port is left out."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return ""
    if not isinstance(address, IPv6Address):
        return str(address)
    mapped = address.ipv4_mapped
    return str(mapped or ip_network((address.packed, 64), strict=False).network_address)
