"""The server is killed, or steps down, while many write: nothing acknowledged is lost, and all go on by themselves."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from pymongo import MongoClient

from engine.adapters.mongo.connection import Mongo, connect
from engine.adapters.mongo.documents import MongoDocuments
from engine.adapters.mongo.files import MongoFiles
from engine.adapters.mongo.state import MongoState
from engine.errors import HeadraceError, Unavailable
from engine.ports import Doc, Query, StateChange, Where, Write
from tests import mongo_server
from tests.integration.mongo.conftest import StandingClock

T = TypeVar("T")
WAIT = 60.0


class Load:
    """Threads that write until told to stop. What could not be written is offered again, as the engine does."""

    def __init__(self, connection: Mongo, clock: StandingClock) -> None:
        self.documents = MongoDocuments(connection)
        self.state = MongoState(connection, clock)
        self.files = MongoFiles(connection, clock, 10_000_000)
        self.acknowledged: dict[str, int] = {}
        self.refused = threading.Event()
        self.errors: list[BaseException] = []
        self._moved = threading.Condition()
        self._stop = threading.Event()
        self._works: list[Callable[[int], None]] = [
            self._insert, self._count, self._claim, self._settle, self._save, self._append,
        ]  # fmt: skip
        self.files.save("log", b"", content_type="text/plain", metadata={}, file_id="log")
        self._threads = [threading.Thread(target=self._run, args=(work,)) for work in self._works]

    def _run(self, work: Callable[[int], None]) -> None:
        number = 0
        try:
            while not self._stop.is_set():
                work(number)
                number += 1
                with self._moved:
                    self.acknowledged[work.__name__] = number
                    self._moved.notify_all()
        except BaseException as error:  # noqa: BLE001 – the test raises it
            self.errors.append(error)

    def _until_done(self, work: Callable[[], T]) -> T:
        while True:
            try:
                return work()
            except Unavailable:  # nothing else may be raised
                self.refused.set()

    def _insert(self, number: int) -> None:
        self._until_done(lambda: self.documents.insert("ledger", {"_id": f"m{number}", "flowId": "f"}))

    def _count(self, number: int) -> None:
        self._until_done(lambda: self.state.apply("flow:f", f"op{number}", "inc", "n"))

    def _claim(self, number: int) -> None:
        free = (Where("by", "exists", False),)
        self._until_done(lambda: self.documents.put("timers", {"_id": f"t{number}", "due": 1}))
        if not self._until_done(lambda: self.documents.update("timers", f"t{number}", {"by": "me"}, free)):
            # it was applied, but the answer was lost
            assert (self._until_done(lambda: self.documents.get("timers", f"t{number}")) or {})["by"] == "me"

    def _settle(self, number: int) -> None:
        writes = [
            Write("windows", f"w{number}", {"_id": f"w{number}", "flowId": "f"}),
            Write("listeners", "none", None),
        ]
        changes = [StateChange("flow:s", "set", "last", number)]
        self._until_done(lambda: self.documents.bulk(writes, changes))

    def _save(self, number: int) -> None:
        content = b"%d;" % number * 50_000
        self._until_done(
            lambda: self.files.save("a", content, content_type="text/plain", metadata={"n": number}, file_id="whole")
        )

    def _append(self, number: int) -> None:
        self._until_done(lambda: self.files.append("log", b"%d;" % number, op_id=f"op{number}"))

    @contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(WAIT)
        assert self.errors == []
        assert not any(thread.is_alive() for thread in self._threads)

    def wait_for_more(self) -> None:
        """Until every thread has had some more acknowledged."""
        wanted = {work.__name__: self.acknowledged.get(work.__name__, 0) + 5 for work in self._works}

        def reached() -> bool:
            return bool(self.errors) or all(self.acknowledged.get(name, 0) >= n for name, n in wanted.items())

        with self._moved:
            assert self._moved.wait_for(reached, WAIT), (wanted, self.acknowledged)

    def check(self) -> None:
        done = self.acknowledged
        ids = {doc["_id"] for doc in self.documents.find("ledger")}
        assert ids == {f"m{number}" for number in range(done["_insert"])}
        assert self.state.get("flow:f", "n") == done["_count"]
        assert self.documents.count("timers", Query((Where("by", "eq", "me"),))) == done["_claim"]
        assert self.documents.count("windows") == done["_settle"]
        assert self.state.get("flow:s", "last") == done["_settle"] - 1
        assert self.files.info("whole").metadata == {"n": done["_save"] - 1}
        with self.files.open("whole") as file:
            assert file.read() == b"%d;" % (done["_save"] - 1) * 50_000
        with self.files.open("log") as file:
            assert file.read() == b"".join(b"%d;" % number for number in range(done["_append"]))


class Server:
    """One that is ill-treated."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.now = mongo_server.start(folder)
        self.url = f"{self.now.url}&serverSelectionTimeoutMS=500"

    def kill(self) -> None:
        self.now.kill()

    def start_again(self) -> None:
        self.now = mongo_server.start(self._folder, self.now.port)

    def step_down(self) -> None:
        client: MongoClient[Doc] = MongoClient(self.url, directConnection=True)
        with client:
            client.admin.command({"replSetStepDown": 2, "secondaryCatchUpPeriodSecs": 0, "force": True})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    started = Server(tmp_path)
    yield started
    started.kill()


@pytest.fixture
def load(server: Server, clock: StandingClock) -> Iterator[Load]:
    connection = connect(server.url)
    yield Load(connection, clock)
    connection.close()


def test_killed_and_started_again(server: Server, load: Load) -> None:
    with load.running():
        for _ in range(2):
            load.wait_for_more()
            load.refused.clear()
            server.kill()
            assert load.refused.wait(WAIT)
            server.start_again()
            load.wait_for_more()
    load.check()


def test_stepped_down(server: Server, load: Load) -> None:
    with load.running():
        load.wait_for_more()
        load.refused.clear()
        server.step_down()
        assert load.refused.wait(WAIT)
        load.wait_for_more()
    load.check()


def test_a_server_that_is_away_is_unavailable(clock: StandingClock) -> None:
    connection = connect("mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=50")
    for begin in (lambda: MongoDocuments(connection), lambda: MongoState(connection, clock)):
        with pytest.raises(Unavailable) as caught:
            begin()
        assert len(caught.value.message) < 200
    connection.close()
    with pytest.raises(Unavailable, match="closed"):
        connection.database.list_collection_names()


def test_a_url_that_cannot_be_read_is_told_without_its_password() -> None:
    with pytest.raises(HeadraceError) as caught:
        connect("mongodb://user:se/cret@host")
    assert "cret" not in caught.value.message


FORKED = """
import os, sys
from engine.adapters.mongo.connection import connect
from engine.adapters.mongo.documents import MongoDocuments

documents = MongoDocuments(connect(sys.argv[1], database="forked"))
assert documents.insert("config", {"_id": "parent"})
child = os.fork()
if child == 0:
    os._exit(10 * documents.insert("config", {"_id": "child"}) + documents.insert("config", {"_id": "parent"}))
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 10
assert documents.count("config") == 2
"""


def test_a_forked_process_connects_anew(mongo: Mongo) -> None:
    url = mongo_server.url()
    done = subprocess.run([sys.executable, "-c", FORKED, url], capture_output=True, text=True, timeout=60, check=False)
    mongo.client.drop_database("forked")
    assert (done.returncode, done.stderr) == (0, "")
