"""A Redis that tests may kill, empty and cut off, and caches that use it as several processes would."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from deploy.local import redis
from engine.adapters.redis_cache.cache import RedisCache
from engine.errors import Unavailable
from tests import redis_server

LIMIT = 30.0


def until(check: Callable[[], Any], what: str) -> Any:
    """The first true value of `check`; fails after LIMIT seconds. Redis may be away meanwhile."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        try:
            if found := check():
                return found
        except Unavailable:
            pass
        time.sleep(0.01)
    raise AssertionError(f"{what} did not come about within {LIMIT:g} s")


class Server:
    """`folder` keeps what Redis writes; `started` is the process that runs now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: redis.Redis = redis_server.start(folder, keep=True)
        self.port = self.started.port
        self.url = self.started.url

    def kill(self) -> None:
        self.started.kill()

    def start(self) -> None:
        self.started = redis_server.start(self.folder, port=self.port, keep=True)

    def empty(self) -> None:
        """Kill it and start it without what it had."""
        self.kill()
        for path in sorted(self.folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        self.start()

    def cut(self, kind: str) -> None:
        """Close connections of the kind "normal" or "pubsub"."""
        with redis_server.client(self.url) as client:
            client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "redis")
    yield made
    made.kill()


MakeCache = Callable[[], RedisCache]


@pytest.fixture
def process(server: Server) -> Iterator[MakeCache]:
    """Makes a cache as another process would; each has its own connections and its own thread."""
    with ExitStack() as stack:

        def make() -> RedisCache:
            cache = RedisCache(server.url)
            stack.callback(cache.close)
            return cache

        yield make
