"""One SQLite file, one writer thread, group commit (design.md §3).

Everybody who writes submits a piece of work; the writer runs all that is waiting in one
transaction, so that many threads share one fsync. A piece of work runs inside a savepoint:
if it raises, only its own future fails. Statements that many pieces have in common (a
settlement's inserts) are given as rows and executed together, once per group.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy_utils import database_exists

from engine.errors import HeadraceError, Unavailable

T = TypeVar("T")
Work = Callable[[sa.Connection], Any]
Rows = tuple[str, Sequence[tuple[Any, ...]]]
"""A statement with positional parameters, and the rows to execute it with."""

log = logging.getLogger(__name__)

GROUP = 512
READ_CONNECTIONS = 16

_FAULTS = (
    ("disk is full", "the disk is full"),
    ("malformed", "the database file is damaged"),
    ("not a database", "the database file is damaged"),
    ("locked", "the database is locked by another program"),
    ("readonly", "the database file cannot be written"),
    ("unable to open", "the database file cannot be opened"),
    ("disk i/o", "the disk reports an input/output error"),
)


def translate(error: Exception, path: Path) -> HeadraceError:
    """A driver's error as ours, its cause kept by the caller's `raise … from`."""
    text = str(getattr(error, "orig", error)).lower()
    for sign, meaning in _FAULTS:
        if sign in text:
            return Unavailable(f"{path.name}: {meaning}", code="STORAGE")
    return HeadraceError(f"{path.name}: {getattr(error, 'orig', error)}", code="STORAGE")


class _Job:
    __slots__ = ("future", "rows", "work")

    def __init__(self, work: Work | None, rows: Sequence[Rows]) -> None:
        self.future: Future[Any] = Future()
        self.work = work
        self.rows = rows


class Database:
    """An open file. `metadata` collects the adapters' tables; `create_all` makes them.

    `on_connect` are called with every new driver connection (to register SQL functions).
    """

    def __init__(self, path: Path, *, on_connect: Sequence[Callable[[Any], None]] = ()) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.metadata = sa.MetaData()
        self.engine = sa.create_engine(
            f"sqlite:///{path}",
            poolclass=sa.QueuePool,
            pool_size=READ_CONNECTIONS,
            max_overflow=0,
            pool_timeout=30,
            connect_args={"check_same_thread": False, "timeout": 5, "cached_statements": 256},
        )
        event.listen(self.engine, "connect", self._connected)
        event.listen(self.engine, "begin", _begin)
        self._on_connect = tuple(on_connect)
        self._jobs: deque[_Job] = deque()
        self._wake = threading.Event()
        self._closing = False
        self.fault: HeadraceError | None = None
        if path.exists() and path.stat().st_size and not database_exists(self.engine.url):
            raise Unavailable(f"{path.name}: the database file is damaged", code="STORAGE")
        try:
            self._writer_connection = self.engine.connect()
        except exc.DBAPIError as error:
            raise translate(error, path) from error
        self._writer = threading.Thread(target=self._run, name=f"writer {path.name}", daemon=True)
        self._writer.start()

    def _connected(self, connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are begun by us, see _begin
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "busy_timeout=5000",
            "foreign_keys=OFF",
            "cache_size=-2048",
            "temp_store=MEMORY",
            "wal_autocheckpoint=4000",
        ):
            connection.execute(f"PRAGMA {pragma}")
        for hook in self._on_connect:
            hook(connection)

    def create_all(self) -> None:
        self.write(lambda connection: self.metadata.create_all(connection))

    # -- writing

    def submit(self, work: Callable[[sa.Connection], T]) -> Future[T]:
        """Run `work` on the writer thread; the future resolves after the commit is on disk."""
        return self._enqueue(_Job(work, ()))

    def submit_rows(self, rows: Sequence[Rows], work: Work | None = None) -> Future[Any]:
        """As `submit`, for plain statements: equal ones of a group are executed as one batch.

        Statements run in the order in which the group first saw each, after all `work`: they must
        not depend on the order between different statements of one group.
        """
        return self._enqueue(_Job(work, rows))

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        return self.submit(work).result()

    def _enqueue(self, job: _Job) -> Future[Any]:
        if self._closing:
            raise Unavailable(f"{self.path.name} is closed", code="STORAGE")
        self._jobs.append(job)
        self._wake.set()
        return job.future

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._jobs:
                self._commit([self._jobs.popleft() for _ in range(min(GROUP, len(self._jobs)))])
            if self._closing:
                return

    def _commit(self, jobs: list[_Job]) -> None:
        connection = self._writer_connection
        results: list[tuple[_Job, Any, BaseException | None]] = []
        batches: dict[str, list[tuple[Any, ...]]] = {}
        try:
            with connection.begin():
                for job in jobs:
                    result, error = self._perform(connection, job) if job.work else (None, None)
                    results.append((job, result, error))
                    if error is None:
                        for statement, rows in job.rows:
                            batches.setdefault(statement, []).extend(rows)
                for statement, rows in batches.items():
                    connection.exec_driver_sql(statement, rows)
        except Exception as error:  # noqa: BLE001 - the whole group failed: every waiter must learn of it
            self._failed(jobs, error)
            return
        self.fault = None
        for job, result, failure in results:
            if failure is not None:
                job.future.set_exception(failure)
            else:
                job.future.set_result(result)

    def _perform(self, connection: sa.Connection, job: _Job) -> tuple[Any, BaseException | None]:
        assert job.work is not None
        # not begin_nested: its bookkeeping costs more than most of the work done inside
        connection.exec_driver_sql("SAVEPOINT job")
        try:
            result = job.work(connection)
        except Exception as error:  # noqa: BLE001 - it belongs to the one who submitted the work
            connection.exec_driver_sql("ROLLBACK TO job")
            connection.exec_driver_sql("RELEASE job")
            if isinstance(error, exc.OperationalError | exc.DatabaseError) and not isinstance(
                error, exc.IntegrityError
            ):
                ours = translate(error, self.path)
                ours.__cause__ = error
                return None, ours
            return None, error
        connection.exec_driver_sql("RELEASE job")
        return result, None

    def _failed(self, jobs: list[_Job], error: Exception) -> None:
        ours = error if isinstance(error, HeadraceError) else translate(error, self.path)
        if ours is not error:
            ours.__cause__ = error
        self.fault = ours if isinstance(ours, Unavailable) else None
        log.error("commit failed", extra={"action": "commit_failed", "file": self.path.name}, exc_info=error)
        for job in jobs:
            job.future.set_exception(ours)

    # -- reading

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection for one short read; keep it no longer than a second."""
        try:
            with self.engine.connect() as connection:
                yield connection
        except exc.DBAPIError as error:
            raise translate(error, self.path) from error

    def close(self) -> None:
        """Commit what is waiting, then close. Later submissions raise Unavailable."""
        if self._closing:
            return
        self._closing = True
        self._wake.set()
        self._writer.join()
        self._writer_connection.close()
        self.engine.dispose()


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN")
