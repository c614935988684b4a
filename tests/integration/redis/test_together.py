"""Several processes at once, and what lapses while real time goes by."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.integration.redis import contender
from tests.integration.redis.conftest import MakeCache, Server, until


def test_processes_that_contend_lose_and_exceed_nothing(server: Server, process: MakeCache, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    command = [sys.executable, contender.__file__, server.url, str(tmp_path)]
    running = [subprocess.Popen([*command, f"p{n}"]) for n in range(3)]
    assert [one.wait(60) for one in running] == [0, 0, 0]
    assert int(counter.read_text()) == 3 * contender.ROUNDS
    assert process().get("held") == 0


def test_a_lock_lapses_by_the_clock_of_the_server(process: MakeCache) -> None:
    here, there = process(), process()
    assert here.lock("l", "a", ttl=0.2)
    assert not there.lock("l", "b", ttl=0.2)
    until(lambda: there.lock("l", "b", ttl=60), "the lock")
    assert not here.lock("l", "a", ttl=60)
    assert not here.unlock("l", "a")
    assert there.unlock("l", "b")


def test_the_slot_of_a_process_that_died_lapses(process: MakeCache) -> None:
    here, there = process(), process()
    assert here.acquire_slot("q", "dead", 1, ttl=0.3)
    assert not here.acquire_slot("q", "dead too", 1, ttl=0.3)
    until(lambda: there.acquire_slot("q", "alive", 1, ttl=60), "the slot")
    assert not here.acquire_slot("q", "dead", 1, ttl=60)


def test_nothing_stays_in_redis_for_ever(server: Server, process: MakeCache) -> None:
    cache = process()
    cache.set("k", 1, ttl=60)
    cache.incr("n", 1, ttl=60)
    cache.lock("l", "a", ttl=60)
    for ticket in "abc":
        cache.acquire_slot("q", ticket, 1, ttl=60)
    keys = cache._link.call("KEYS", "*")
    assert len(keys) == 6
    assert all(0 < cache._link.call("PTTL", key) <= 60_000 for key in keys)
    for ticket in "abc":
        cache.release_slot("q", ticket)
    cache.unlock("l", "a")
    assert len(cache._link.call("KEYS", "*")) == 2
