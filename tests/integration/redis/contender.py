"""A process of its own that uses the cache together with others: `python contender.py URL FOLDER NAME`.

Counts up a number in a file under a lock, and notes how many hold a slot at a time.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from engine.adapters.redis_cache.cache import RedisCache

ROUNDS, SLOTS = 100, 2


def main(url: str, folder: Path, name: str) -> None:
    cache = RedisCache(url)
    counter = folder / "counter"
    for number in range(ROUNDS):
        while not cache.lock("counter", name, ttl=60):
            time.sleep(0.001)
        counter.write_text(str(int(counter.read_text()) + 1))
        assert cache.unlock("counter", name)
        ticket = f"{name}.{number}"
        while not cache.acquire_slot("slots", ticket, SLOTS, ttl=60):
            time.sleep(0.001)
        held = cache.incr("held", 1, ttl=600)
        assert held <= SLOTS, held
        cache.incr("held", -1, ttl=600)
        cache.release_slot("slots", ticket)
    cache.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
