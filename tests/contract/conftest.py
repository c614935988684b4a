"""The adapters that each port's contract suite runs against.

Another adapter (Mongo, Redis …) is one more line in its port's table, and a function that
builds it. Suites of the bus and the log index use the same `database` and `clock`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier

import pytest

from engine.adapters.embedded.cache import MemoryCache
from engine.adapters.embedded.database import Database
from engine.adapters.embedded.documents import SqliteDocuments
from engine.adapters.embedded.files import SqliteFiles
from engine.adapters.embedded.logindex import SqliteLogIndex
from engine.adapters.embedded.query_sql import register_functions
from engine.adapters.embedded.state import SqliteState
from engine.adapters.mongo.connection import Mongo
from engine.adapters.mongo.documents import MongoDocuments
from engine.adapters.mongo.files import MongoFiles
from engine.adapters.mongo.state import MongoState
from engine.adapters.redis_cache.cache import RedisCache
from engine.ports import Cache, Documents, Files, LogIndex, State
from tests import mongo_server, redis_server, search_server

MAX_FILE_BYTES = 4_000_000


class FakeClock:
    """Stands still until told otherwise. `moved` are told by how much, for servers with a clock of their own."""

    def __init__(self) -> None:
        self.ms = 1_790_000_000_000
        self.moved: list[Callable[[int], None]] = []

    def now(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def pass_time(clock: FakeClock) -> Callable[[int], None]:
    """Move the adapters' clock on by so many milliseconds."""

    def move(ms: int) -> None:
        clock.ms += ms
        for tell in clock.moved:
            tell(ms)

    return move


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "headrace.db", on_connect=(register_functions,))
    yield database
    database.close()


def embedded_documents(request: pytest.FixtureRequest) -> Documents:
    return SqliteDocuments(request.getfixturevalue("database"))


def embedded_state(request: pytest.FixtureRequest) -> State:
    return SqliteState(request.getfixturevalue("database"), request.getfixturevalue("clock"))


def embedded_files(request: pytest.FixtureRequest) -> Files:
    folder: Path = request.getfixturevalue("tmp_path")
    clock: FakeClock = request.getfixturevalue("clock")
    return SqliteFiles(request.getfixturevalue("database"), folder / "files", clock, MAX_FILE_BYTES)


def embedded_cache(request: pytest.FixtureRequest) -> Cache:
    clock: FakeClock = request.getfixturevalue("clock")
    return MemoryCache(max_entries=1_000, now=lambda: clock.ms / 1000)


@pytest.fixture
def mongo() -> tuple[Mongo, MongoDocuments]:
    connection, documents = mongo_server.shared()
    mongo_server.empty(connection)
    return connection, documents


def mongo_documents(request: pytest.FixtureRequest) -> Documents:
    documents: MongoDocuments = request.getfixturevalue("mongo")[1]
    return documents


def mongo_state(request: pytest.FixtureRequest) -> State:
    return MongoState(request.getfixturevalue("mongo")[0], request.getfixturevalue("clock"))


def mongo_files(request: pytest.FixtureRequest) -> Files:
    return MongoFiles(request.getfixturevalue("mongo")[0], request.getfixturevalue("clock"), MAX_FILE_BYTES)


def redis_cache(request: pytest.FixtureRequest) -> Cache:
    url, prefix = redis_server.shared_url(), f"{uuid.uuid4().hex}:"
    clock: FakeClock = request.getfixturevalue("clock")
    clock.moved.append(partial(redis_server.age, url, prefix))
    made = RedisCache(url, prefix=prefix)
    request.addfinalizer(made.close)
    return made


DOCUMENTS = {"embedded": embedded_documents, "mongo": mongo_documents}
STATE = {"embedded": embedded_state, "mongo": mongo_state}
FILES = {"embedded": embedded_files, "mongo": mongo_files}
CACHE = {"embedded": embedded_cache, "redis": redis_cache}


@pytest.fixture(params=DOCUMENTS)
def documents(request: pytest.FixtureRequest) -> Documents:
    return DOCUMENTS[request.param](request)


@pytest.fixture(params=STATE)
def state(request: pytest.FixtureRequest) -> State:
    return STATE[request.param](request)


@pytest.fixture(params=FILES)
def files(request: pytest.FixtureRequest) -> Files:
    return FILES[request.param](request)


@pytest.fixture(params=CACHE)
def cache(request: pytest.FixtureRequest) -> Cache:
    return CACHE[request.param](request)


@pytest.fixture
def together() -> Callable[..., list[object]]:
    """Run a function in several threads that begin at the same moment; its results, in any order."""

    def run(work: Callable[[int], object], threads: int = 8) -> list[object]:
        barrier = Barrier(threads)

        def begin(number: int) -> object:
            barrier.wait(timeout=30)
            return work(number)

        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(begin, range(threads)))

    return run


# -- log indexes: of each adapter any number, by name; they are read by whole modules


class LogIndexes:
    """Two of one folder and name share what they hold."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def open(self, folder: Path, name: str = "flow") -> LogIndex:
        if self.kind == "elastic":
            return search_server.log_index(name)
        return SqliteLogIndex(folder / name)

    def empty(self, folder: Path, name: str = "flow") -> LogIndex:
        if self.kind == "elastic":
            search_server.empty(name)
        return self.open(folder, name)


@pytest.fixture(params=["embedded", "elastic"], scope="module")
def log_indexes(request: pytest.FixtureRequest) -> LogIndexes:
    return LogIndexes(request.param)


@pytest.fixture
def index(log_indexes: LogIndexes, tmp_path: Path) -> Iterator[LogIndex]:
    index = log_indexes.empty(tmp_path)
    yield index
    index.close()
