"""How many messages each flow has waiting, counted by all processes (engine.adapters.rabbit.depths)."""

from __future__ import annotations

from collections.abc import Mapping

from engine.adapters.redis_cache.cache import RedisCache
from engine.adapters.redis_cache.scripts import Script

COUNTS = "n:"
"""What follows the prefix in their names."""

KEPT_MS = 7 * 86_400_000
"""A count that was not changed for so long begins anew: what processes that died have not told is forgotten."""

ADD = Script("""
local counts = {}
for place, key in ipairs(KEYS) do
    counts[place] = redis.call('INCRBY', key, ARGV[place + 1])
    redis.call('PEXPIRE', key, ARGV[1])
end
return counts
""")
"""counters; time to live, and for each how much is added → the new counts."""


class RedisCounters:
    """Numbers by name, in the Redis that `cache` uses, beside what the cache keeps."""

    def __init__(self, cache: RedisCache) -> None:
        self._link = cache._link
        self._key = cache._key

    def add(self, changes: Mapping[str, int]) -> dict[str, int]:
        """Add to each, all in one round trip. → the new numbers. Raises Unavailable."""
        counts = self._link.run(ADD, [self._key(COUNTS, name) for name in changes], KEPT_MS, *changes.values())
        return dict(zip(changes, counts, strict=True))
