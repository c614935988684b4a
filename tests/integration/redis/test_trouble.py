"""What the cache does while Redis is away, and when it comes back."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from engine.adapters.redis_cache import link
from engine.adapters.redis_cache.cache import RedisCache
from engine.errors import BadRequest, Unavailable
from engine.ports import NOTICES_LOST
from tests.integration.redis.conftest import MakeCache, Server, until

CALLS: list[tuple[str, tuple[Any, ...]]] = [
    ("get", ("k",)),
    ("set", ("k", 1, 60)),
    ("add", ("k", 1, 60)),
    ("delete", ("k",)),
    ("incr", ("n", 1, 60)),
    ("lock", ("l", "a", 60)),
    ("acquire_slot", ("q", "t", 1, 60)),
]


def away(cache: RedisCache) -> None:
    until(lambda: cache.trouble is not None, "trouble")


def back(cache: RedisCache) -> None:
    until(lambda: cache.trouble is None, "the end of trouble")


@pytest.mark.parametrize(("name", "arguments"), CALLS, ids=[name for name, _ in CALLS])
def test_commands_say_that_redis_is_away_and_work_again_when_it_is_back(
    server: Server, process: MakeCache, name: str, arguments: tuple[Any, ...]
) -> None:
    cache = process()
    call = getattr(cache, name)
    server.kill()
    with pytest.raises(Unavailable, match="Redis cannot be reached") as caught:
        call(*arguments)
    assert caught.value.retryable
    assert caught.value.__cause__ is not None
    assert cache.trouble is not None
    with pytest.raises(Unavailable, match="Redis cannot be reached"):
        call(*arguments)
    server.start()
    until(lambda: call(*arguments) in (None, 1, True), "an answer")


def test_a_cache_may_be_made_while_redis_is_away(server: Server, process: MakeCache) -> None:
    server.kill()
    cache, other = process(), process()
    heard: list[str] = []
    cache.subscribe("c", heard.append)
    with pytest.raises(Unavailable):
        cache.get("k")
    server.start()
    back(cache)
    other.publish("c", "a")
    until(lambda: heard == ["a"], "the notice")


def test_what_redis_has_written_is_there_after_a_kill(server: Server, process: MakeCache) -> None:
    cache = process()
    cache.set("k", "value", ttl=60)
    assert cache.incr("n", 3, ttl=60) == 3
    assert cache.lock("l", "a", ttl=60)
    assert cache.acquire_slot("q", "a", 1, ttl=60)
    server.kill()
    server.start()
    assert until(lambda: cache.get("k"), "the value") == "value"
    assert cache.incr("n", 1, ttl=60) == 4
    assert not cache.lock("l", "b", ttl=60)
    assert not cache.acquire_slot("q", "b", 1, ttl=60)
    assert cache.acquire_slot("q", "a", 1, ttl=60)


def test_redis_comes_back_empty_and_everything_recovers(server: Server, process: MakeCache) -> None:
    cache = process()
    cache.set("k", "value", ttl=60)
    cache.incr("n", 3, ttl=60)
    cache.lock("l", "a", ttl=60)
    cache.acquire_slot("q", "a", 1, ttl=60)
    assert not cache.acquire_slot("q", "b", 1, ttl=60)
    server.empty()
    assert until(lambda: cache.incr("n", 1, ttl=60), "a count") == 1
    assert cache.get("k") is None
    assert cache.lock("l", "b", ttl=60)
    assert not cache.unlock("l", "a")
    assert cache.acquire_slot("q", "b", 1, ttl=60)  # whoever asks again first
    assert not cache.acquire_slot("q", "a", 1, ttl=60)
    cache.release_slot("q", "b")
    assert cache.acquire_slot("q", "a", 1, ttl=60)


def test_what_is_given_up_while_redis_is_away_is_free_when_it_is_back(server: Server, process: MakeCache) -> None:
    cache, other = process(), process()
    assert cache.lock("l", "a", ttl=600)
    assert cache.acquire_slot("q", "a", 1, ttl=600)
    server.kill()
    assert not cache.unlock("l", "a")
    cache.release_slot("q", "a")
    server.start()
    until(lambda: other.lock("l", "b", ttl=600), "the lock")
    until(lambda: other.acquire_slot("q", "b", 1, ttl=600), "the slot")


def test_an_empty_redis_is_told_the_scripts_again(server: Server, process: MakeCache) -> None:
    cache = process()
    assert cache.incr("n", 1, ttl=60) == 1
    cache._link.call("SCRIPT", "FLUSH")
    assert cache.incr("n", 1, ttl=60) == 2


# -- a server that hangs


def test_a_server_that_hangs_holds_nobody_up_for_long(server: Server, process: MakeCache) -> None:
    cache = process()
    cache.set("k", 1, ttl=60)
    os.kill(server.started.process.pid, signal.SIGSTOP)
    for _ in range(2_000):  # one second each, if each of them waited
        with pytest.raises(Unavailable):
            cache.get("k")
    os.kill(server.started.process.pid, signal.SIGCONT)
    assert until(lambda: cache.get("k"), "an answer") == 1


def test_a_subscriber_notices_a_server_that_hangs(
    server: Server, process: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.adapters.redis_cache.notices.ASK", 0.2)
    cache, lost = process(), threading.Event()
    cache.subscribe(NOTICES_LOST, lambda _: lost.set())
    cache.subscribe("c", lambda _: None)
    os.kill(server.started.process.pid, signal.SIGSTOP)
    assert lost.wait(30)
    away(cache)
    os.kill(server.started.process.pid, signal.SIGCONT)
    back(cache)


def test_silence_is_not_taken_for_trouble(process: MakeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.adapters.redis_cache.notices.ASK", 0.01)
    cache, lost = process(), threading.Event()
    cache.subscribe(NOTICES_LOST, lambda _: lost.set())
    cache.subscribe("c", lambda _: None)

    def asked() -> bool:
        stats: bytes = cache._link.call("INFO", "commandstats")
        calls = [line for line in stats.decode().splitlines() if line.startswith("cmdstat_ping:calls=")]
        return bool(calls) and int(calls[0].partition("=")[2].partition(",")[0]) > 50

    until(asked, "fifty questions")
    assert not lost.is_set()


# -- notices


def test_notices_reach_other_processes_and_their_own_once(process: MakeCache) -> None:
    here, there = process(), process()
    heard: list[str] = []
    leave = here.subscribe("c", lambda text: heard.append(f"here {text}"))
    there.subscribe("c", lambda text: heard.append(f"there {text}"))
    here.publish("c", "ü")
    until(lambda: "there ü" in heard, "the notice")
    there.publish("c", "2 words\nand a line")
    until(lambda: len(heard) == 4, "the second notice")
    assert sorted(heard) == sorted(["here ü", "there ü", "here 2 words\nand a line", "there 2 words\nand a line"])
    leave()
    there.publish("c", "last")
    there.publish("other", "x")
    assert heard[-1] == "there last"
    here.subscribe("end", lambda _: heard.append("end"))
    there.publish("end", "")
    until(lambda: "end" in heard, "a notice after the others")
    assert "here last" not in heard


def test_installations_that_share_a_redis_do_not_meet(server: Server, process: MakeCache) -> None:
    ours, theirs = process(), RedisCache(server.url, prefix="theirs:")
    heard: list[str] = []
    try:
        ours.subscribe("c", lambda text: heard.append(f"ours {text}"))
        theirs.subscribe("c", lambda text: heard.append(f"theirs {text}"))
        ours.set("k", 1, ttl=60)
        ours.lock("l", "a", ttl=60)
        ours.acquire_slot("q", "a", 1, ttl=60)
        assert theirs.get("k") is None
        assert theirs.lock("l", "b", ttl=60)
        assert theirs.acquire_slot("q", "b", 1, ttl=60)
        process().publish("c", "a")
        until(lambda: heard, "the notice")
        assert heard == ["ours a"]
    finally:
        theirs.close()


def test_while_redis_is_away_notices_reach_this_process(server: Server, process: MakeCache) -> None:
    cache = process()
    heard: list[str] = []
    cache.subscribe("c", heard.append)
    server.kill()
    cache.publish("c", "a")
    assert heard == ["a"]


@pytest.mark.parametrize("how", ["cut", "restart", "empty"])
def test_a_subscriber_connects_again_and_says_that_notices_may_be_lost(
    server: Server, process: MakeCache, how: str
) -> None:
    cache, other = process(), process()
    heard: list[str] = []
    again = threading.Event()
    cache.subscribe("c", heard.append)
    cache.subscribe(NOTICES_LOST, lambda _: again.set())
    other.publish("c", "a")
    until(lambda: heard == ["a"], "the first notice")
    if how == "cut":
        server.cut("pubsub")
    elif how == "restart":
        server.kill()
        server.start()
    else:
        server.empty()
    assert again.wait(30)
    back(cache)
    back(other)

    def told() -> bool:
        other.publish("c", "b")
        return "b" in heard

    until(told, "a notice after it")
    assert [t.name for t in threading.enumerate()].count("redis notices") <= 2  # one a process


def test_whoever_relies_on_notices_is_told_again_until_it_has_worked(
    server: Server, process: MakeCache, caplog: pytest.LogCaptureFixture
) -> None:
    cache = process()
    calls: list[str] = []

    def read_again(text: str) -> None:
        calls.append(text)
        if len(calls) < 3:
            raise Unavailable("documents are away too")

    cache.subscribe("c", lambda _: None)
    cache.subscribe(NOTICES_LOST, read_again)
    with caplog.at_level(logging.ERROR):
        server.cut("pubsub")
        until(lambda: len(calls) >= 3, "a third try")
    assert "documents are away too" in caplog.text


def test_nothing_is_lost_at_the_first_connection(process: MakeCache) -> None:
    cache, other = process(), process()
    lost: list[str] = []
    heard: list[str] = []
    cache.subscribe(NOTICES_LOST, lost.append)
    cache.subscribe("c", heard.append)
    other.publish("c", "a")
    until(lambda: heard, "the notice")
    assert not lost


def test_a_handler_may_subscribe_and_publish_on_the_thread_that_hears(process: MakeCache) -> None:
    cache, other = process(), process()
    heard: list[str] = []

    def hear(text: str) -> None:
        cache.subscribe("later", heard.append)
        other.subscribe("back", heard.append)
        cache.set("k", text, ttl=60)
        cache.publish("back", text)

    cache.subscribe("c", hear)
    other.publish("c", "a")
    until(lambda: heard == ["a"], "what the handler has published")
    assert cache.get("k") == "a"
    other.publish("later", "b")
    until(lambda: heard == ["a", "b"], "what it has subscribed to")


# -- connections


def test_a_connection_that_the_server_has_closed_meanwhile_is_not_used(
    server: Server, process: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "FRESH", 0.0)
    cache = process()
    cache.set("k", 1, ttl=60)
    server.cut("normal")
    assert cache.get("k") == 1


def test_an_address_that_is_none() -> None:
    with pytest.raises(BadRequest, match="HEADRACE_REDIS_URL"):
        RedisCache("http://localhost")


def test_a_wrong_password_is_said(server: Server, process: MakeCache) -> None:
    process()._link.call("CONFIG", "SET", "requirepass", "secret")
    port = server.port
    wrong, right = (RedisCache(f"redis://:{word}@127.0.0.1:{port}/0") for word in ("wrong", "secret"))
    try:
        with pytest.raises(Unavailable, match="password of HEADRACE_REDIS_URL"):
            wrong.get("k")
        right.set("k", 1, ttl=60)
        assert right.get("k") == 1
    finally:
        wrong.close()
        right.close()


def test_a_full_redis_is_said_and_is_not_taken_for_away(process: MakeCache) -> None:
    cache = process()
    cache.set("k", 1, ttl=60)
    cache._link.call("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(Unavailable, match="full"):
        cache.set("k", 2, ttl=60)
    assert cache.get("k") == 1
    assert cache.trouble is None
    cache._link.call("CONFIG", "SET", "maxmemory", "0")
    cache.set("k", 2, ttl=60)


def test_connections_of_a_server_that_is_gone_are_not_used(
    server: Server, process: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "FRESH", 3600.0)  # idle ones are not looked at
    cache, others = process(), Barrier(8)
    cache.set("k", 1, ttl=60)

    def at_once(_: int) -> Any:
        connection = cache._link._borrow()
        others.wait(30)
        cache._link._idle.append((connection, time.monotonic()))
        others.wait(30)
        return cache.get("k")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(at_once, range(8))) == [1] * 8
        server.kill()
        with pytest.raises(Unavailable):
            cache.get("k")
        server.start()
        back(cache)
        assert list(pool.map(at_once, range(8))) == [1] * 8


ROUNDS = 300


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_makes_its_own_connections(process: MakeCache, tmp_path: Path) -> None:
    cache, other = process(), process()
    heard: list[str] = []
    cache.subscribe("c", heard.append)
    cache.set("parent", "parent", ttl=60)
    cache.set("child", "child", ttl=60)
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        code = 1
        try:
            assert [cache.get("child") for _ in range(ROUNDS)] == ["child"] * ROUNDS
            cache.subscribe("child", lambda _: (tmp_path / "heard").touch())
            cache.publish("c", "child")
            until(lambda: (tmp_path / "heard").exists(), "a notice")
            code = 0
        finally:
            os._exit(code)
    assert [cache.get("parent") for _ in range(ROUNDS)] == ["parent"] * ROUNDS
    until(lambda: heard == ["child"], "the child's notice")

    def told() -> bool:
        other.publish("child", "parent")
        return (tmp_path / "heard").exists()

    until(told, "the child's answer")
    assert os.waitpid(child, 0)[1] == 0
