"""The connections to one Redis, and whether it can be reached.

redis-py's own client spends 40 µs of processor time on a command; a connection of it, held here, 14 (measured).
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from redis import BusyLoadingError, Connection, ConnectionPool
from redis.exceptions import (
    AuthenticationError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from engine.adapters.redis_cache.scripts import Script
from engine.errors import BadRequest, Unavailable

log = logging.getLogger(__name__)

TIMEOUT = 1.0
"""Seconds to connect, and to wait for an answer: a server that hangs holds a caller up only so long."""

FRESH = 1.0
"""Seconds after which an idle connection is looked at before it is used: the server may have closed it."""

_MEANINGS: tuple[tuple[type[Exception], str], ...] = (
    (AuthenticationError, "refuses the user or password of HEADRACE_REDIS_URL"),
    (BusyLoadingError, "is loading its data"),
    (OutOfMemoryError, "is full: raise its maxmemory"),
    (ReadOnlyError, "is a replica and cannot be written"),
    (ResponseError, "refuses a command"),
    (Exception, "cannot be reached"),
)


AWAY = "REDIS"
"""Code of the errors."""


def translate(error: Exception) -> Unavailable:
    """A driver's error as ours, its cause kept by the caller's `raise … from`: another try may help in all cases."""
    meaning = next(text for kind, text in _MEANINGS if isinstance(error, kind))
    return Unavailable(f"Redis {meaning} ({error})", code=AWAY)


class Link:
    """Lends connections to threads. Once a command has failed, all fail at once until `restored` is called.

    Commands are never repeated: whether one that failed was carried out is not known. `on_lost` is called
    when a command fails, by the thread that has made it.
    """

    def __init__(self, url: str, on_lost: Callable[[], None], *, timeout: float = TIMEOUT) -> None:
        try:
            self._pool = ConnectionPool.from_url(  # makes connections, as the URL says; does not keep them
                url,
                protocol=2,
                driver_info=None,
                client_name="headrace",
                socket_timeout=timeout,
                socket_connect_timeout=timeout,
                max_connections=2**31,
            )
        except ValueError as error:
            raise BadRequest(f"HEADRACE_REDIS_URL: {error}") from error
        self._on_lost = on_lost
        self._idle: deque[tuple[Connection, float]] = deque()
        self._pid = os.getpid()
        self.trouble: Unavailable | None = None
        """Why commands fail now, if they do."""

    def connect(self) -> Connection:
        """A new connection, the caller's own. Raises RedisError, OSError."""
        connection: Any = self._pool.make_connection()
        connection.connect()
        made: Connection = connection
        return made

    def call(self, *words: bytes | str | int) -> Any:
        """One command and its answer: bytes, a whole number, a list, or None. Raises Unavailable."""
        try:
            return self._exchange(words)
        except ResponseError as error:
            if isinstance(error, ReadOnlyError):
                self._idle.clear()  # the name may stand for another server by now
            raise translate(error) from error
        except (RedisError, OSError) as error:
            raise self.lost(error) from error

    def run(self, script: Script, keys: Sequence[bytes], *arguments: bytes | str | int) -> Any:
        """Run a script, which the server keeps until it is restarted. Raises Unavailable."""
        try:
            return self.call("EVALSHA", script.digest, len(keys), *keys, *arguments)
        except Unavailable as error:
            if not isinstance(error.__cause__, NoScriptError):
                raise
        return self.call("EVAL", script.text, len(keys), *keys, *arguments)

    def _exchange(self, words: tuple[bytes | str | int, ...]) -> Any:
        if self.trouble is not None:
            raise Unavailable(self.trouble.message, code=AWAY) from self.trouble
        connection = self._borrow()
        try:
            connection.send_command(*words)
            answer = connection.read_response()
        except ResponseError:
            self._idle.append((connection, time.monotonic()))
            raise  # after anything else it is not used again: what is on its way would answer the next command
        self._idle.append((connection, time.monotonic()))
        return answer

    def _borrow(self) -> Any:
        if self._pid != os.getpid():  # a fork: these belong to the parent
            self._idle.clear()
            self._pid = os.getpid()
        try:
            connection: Any
            connection, since = self._idle.pop()  # the one used last
        except IndexError:
            return self._pool.make_connection()  # connects when it sends
        if time.monotonic() - since > FRESH and not _quiet(connection):
            connection.disconnect()
        return connection

    # -- whether it can be reached

    def lost(self, error: Exception) -> Unavailable:
        """A command has failed, or the connection for notices; → the error that says so."""
        trouble = translate(error)
        if self.trouble is None:
            log.warning("%s", trouble, extra={"action": "redis_lost"})
        self.trouble = trouble
        self._idle.clear()
        self._on_lost()
        return trouble

    def restored(self) -> None:
        if self.trouble is not None:
            log.info("Redis can be reached again", extra={"action": "redis_restored"})
        self.trouble = None

    def close(self) -> None:
        while self._idle:
            self._idle.pop()[0].disconnect()  # type: ignore[no-untyped-call]


def _quiet(connection: Any) -> bool:
    """Whether an idle connection is open and has nothing to say."""
    try:
        return not connection.can_read()
    except (RedisError, OSError):
        return False
