"""The counts of waiting messages that all processes share."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from engine.adapters.redis_cache.cache import RedisCache
from engine.adapters.redis_cache.counters import KEPT_MS, RedisCounters
from tests import redis_server


@pytest.fixture
def caches() -> Iterator[list[RedisCache]]:
    prefix = f"{uuid.uuid4().hex}:"
    made = [RedisCache(redis_server.shared_url(), prefix=prefix) for _ in range(2)]
    yield made
    for cache in made:
        cache.close()


def test_processes_add_up(caches: list[RedisCache]) -> None:
    one, two = map(RedisCounters, caches)
    assert one.add({"a": 5, "b": 1}) == {"a": 5, "b": 1}
    assert two.add({"b": -3, "a": 0, "ü": 2}) == {"b": -2, "a": 5, "ü": 2}
    assert one.add({"a": -5, "b": 2}) == {"a": 0, "b": 0}
    caches[0].set("a", "a value of that name", ttl=60)
    assert two.add({"a": 1}) == {"a": 1}


def test_what_is_not_changed_for_a_week_begins_anew(caches: list[RedisCache]) -> None:
    counters = RedisCounters(caches[0])
    counters.add({"old": 7, "new": 7})
    url, prefix = redis_server.shared_url(), caches[0]._prefix
    redis_server.age(url, prefix, KEPT_MS - 60_000)
    counters.add({"new": 1})
    redis_server.age(url, prefix, 60_000)
    assert counters.add({"old": 0, "new": 0}) == {"old": 0, "new": 8}
