"""Redis servers for tests: one for all tests of a process, each under a prefix of its own, or one to ill-treat."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from redis import Redis as Client

from deploy.local import Missing, free_port, redis
from tests import needs


def start(folder: Path, *, port: int | None = None, keep: bool = False) -> redis.Redis:
    """A server of the caller's own, to be stopped by them. Without one the test is skipped, with CI=true it fails."""
    try:
        return redis.start(folder, port or free_port(), keep=keep, die_with_parent=True)
    except Missing as missing:
        needs.missing(str(missing))


@cache
def shared_url() -> str:
    """Of the server that all tests of this process use; it ends with the process."""
    folder = Path(tempfile.mkdtemp(prefix="headrace-redis-"))
    server = start(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(server.kill)
    return server.url


def client(url: str) -> Client:
    made: Client = Client.from_url(url, protocol=2)
    return made


def age(url: str, prefix: str, ms: int) -> None:
    """As if `ms` milliseconds had gone by: whatever is kept under `prefix` lapses so much earlier."""
    with client(url) as server:
        for key in list(server.scan_iter(match=f"{prefix}*")):
            if server.type(key) == b"zset":
                for member, score in server.zrange(key, 0, -1, withscores=True):
                    if b":places" not in key:  # those are by order, not by time
                        server.zadd(key, {member: score - ms})
            left = server.pttl(key) - ms
            server.pexpire(key, max(left, 0))
