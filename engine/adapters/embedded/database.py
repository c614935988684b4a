"""One SQLite file, one writer thread, group commit (design.md §3).

Everybody who writes submits a piece of work; the writer runs all that is waiting in one
transaction, so that many threads share one fsync. A piece of work runs inside a savepoint:
if it raises, only its own future fails. Statements that many pieces have in common (a
settlement's inserts) are given as rows and executed together, once per group.
"""

from __future__ import annotations

import logging
import re
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event, exc

from engine.adapters.embedded.checkpoints import COPY, LIMIT, Checkpoints
from engine.adapters.embedded.faults import Condition, check, damaged, translate
from engine.errors import HeadraceError, Unavailable

T = TypeVar("T")
Work = Callable[[sa.Connection], Any]
Rows = tuple[str, Sequence[tuple[Any, ...]]]
"""A statement with positional parameters, and the rows to execute it with."""

log = logging.getLogger(__name__)

GROUP = 512
READ_CONNECTIONS = 16

_WIDTHS = (64, 16, 4, 1)
_VALUES = re.compile(r"VALUES (\([?, ]+\))")

PROBE_SECONDS = 1.0
"""While the file takes no writes, how often it is tried."""

PATIENCE_MS = 5000
"""How long another program may hold the lock before that is a fault."""

IMPATIENCE_MS = 250
"""The same while there is a fault: callers should not wait for what is known."""

_PROBE = (
    "CREATE TABLE IF NOT EXISTS probe (id INTEGER PRIMARY KEY, at REAL)",
    "INSERT OR REPLACE INTO probe (id, at) VALUES (1, julianday('now'))",
)


class _Job:
    __slots__ = ("after", "future", "rows", "work")

    def __init__(self, work: Work | None, rows: Sequence[Rows], after: Callable[[], None] | None = None) -> None:
        self.future: Future[Any] = Future()
        self.work = work
        self.rows = rows
        self.after = after


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
            hide_parameters=True,  # messages of errors go to the process log
            connect_args={"check_same_thread": False, "timeout": 5, "cached_statements": 256},
        )
        event.listen(self.engine, "connect", self._connected)
        event.listen(self.engine, "begin", _begin)
        self._on_connect = tuple(on_connect)
        self._jobs: deque[_Job] = deque()
        self._wake = threading.Event()
        self._closing = False
        self.condition = Condition(path)
        try:
            # its transactions are begun and ended by hand, see _commit: SQLAlchemy's cost as much as the work
            self._writer_connection = self.engine.connect().execution_options(by_hand=True)
            check(self._driver, path)
        except exc.DBAPIError as error:
            raise self._why(error) from error
        except sqlite3.DatabaseError as error:
            raise translate(error, path) from error
        self._rest = False
        self._checkpoints = Checkpoints(path, self._wanted)
        self._writer = threading.Thread(target=self._run, name=f"writer {path.name}", daemon=True)
        self._writer.start()

    @property
    def _driver(self) -> Any:
        """The writer's connection without SQLAlchemy around it."""
        driver = self._writer_connection.connection.driver_connection
        assert driver is not None
        return driver

    def _why(self, error: exc.DBAPIError) -> HeadraceError:
        """A file that holds something else is told apart from one that cannot be read."""
        from sqlalchemy_utils.functions.database import database_exists  # costs 20 MB: only when it is needed

        if self.path.is_file() and self.path.stat().st_size and not database_exists(self.engine.url):  # type: ignore[no-untyped-call]
            return damaged(self.path)
        return translate(error, self.path)

    def _connected(self, connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are begun by us, see _begin
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            f"busy_timeout={PATIENCE_MS}",
            "foreign_keys=OFF",
            "cache_size=-512",
            "temp_store=MEMORY",
            f"wal_autocheckpoint={LIMIT}",
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

    def submit_rows(
        self, rows: Sequence[Rows], after: Callable[[], None] | None = None, work: Work | None = None
    ) -> Future[None]:
        """As `submit`, for plain statements: equal ones of a group are executed as one batch, after all `work`.

        The order between different statements is kept only where their first parameter is the same text
        (a document put and then deleted). `after` is called on the writer thread once the rows are on
        disk, before the future resolves; it must not raise.
        """
        return self._enqueue(_Job(work, rows, after))

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        return self.submit(work).result()

    def _enqueue(self, job: _Job) -> Future[Any]:
        if self._closing:
            raise Unavailable(f"{self.path.name} is closed", code="STORAGE")
        if self.condition.damage is not None:
            raise self.condition.damage
        self._jobs.append(job)
        self._wake.set()
        return job.future

    def _run(self) -> None:
        while True:
            self._wake.wait(PROBE_SECONDS if self.condition.fault else None)
            self._wake.clear()
            if self.condition.fault and not self._jobs:
                self._probe()
            while self._jobs:
                self._commit([self._jobs.popleft() for _ in range(min(GROUP, len(self._jobs)))])
                if self._rest:
                    self._copy_rest()
            if self._closing:
                return

    def _wanted(self) -> None:
        """The log was copied: the writer copies what came since, so that the log can begin anew."""
        self._rest = True
        self._wake.set()

    def _copy_rest(self) -> None:
        self._rest = False
        try:
            self._driver.execute(COPY).fetchone()
        except sqlite3.Error as error:
            self._note_fault(error)

    def _commit(self, jobs: list[_Job]) -> None:
        connection, driver = self._writer_connection, self._driver
        results: list[tuple[_Job, Any, BaseException | None]] = []
        batches = _Batches(driver)
        try:
            driver.execute("BEGIN IMMEDIATE")
            for job in jobs:
                result, error = self._perform(connection, job) if job.work else (None, None)
                results.append((job, result, error))
                for statement, rows in job.rows if error is None else ():
                    batches.add(statement, rows)
            batches.flush()
            driver.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - the whole group failed: every waiter must learn of it
            self._roll_back()
            self._failed(jobs, error)
            return
        self._checkpoints.committed()
        if self.condition.fault is not None:
            self._recovered()
        for job, result, failure in results:
            try:
                if failure is None and job.after is not None:
                    job.after()
            except Exception as error:  # it is on disk all the same
                log.exception("what follows a commit failed", extra={"action": "after_commit_failed"})
                failure = error
            if failure is not None:
                job.future.set_exception(failure)
            else:
                job.future.set_result(result)

    def _probe(self) -> None:
        """Find out whether the file takes writes again: nobody may be sending any, because /health says no."""
        try:
            self._driver.execute("BEGIN IMMEDIATE")
            for statement in _PROBE:
                self._driver.execute(statement)
            self._driver.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            self._note_fault(error)
        else:
            self._recovered()

    def _roll_back(self) -> None:
        try:
            if self._driver.in_transaction:
                self._driver.execute("ROLLBACK")
        except sqlite3.Error:  # the next attempt begins anew, or fails as this one did
            log.exception("rolling back failed", extra={"action": "rollback_failed", "file": self.path.name})

    def _note_fault(self, error: Exception) -> HeadraceError:
        ours = self.condition.note(error)
        if isinstance(ours, Unavailable):
            if self.condition.fault is None:
                log.error("%s", ours.message, extra={"action": "storage_fault", "file": self.path.name})
                self._driver.execute(f"PRAGMA busy_timeout={IMPATIENCE_MS}")
            self.condition.fault = ours
        return ours

    def _recovered(self) -> None:
        log.warning("%s takes writes again", self.path.name, extra={"action": "storage_recovered"})
        self.condition.fault = None
        self._driver.execute(f"PRAGMA busy_timeout={PATIENCE_MS}")

    def _perform(self, connection: sa.Connection, job: _Job) -> tuple[Any, BaseException | None]:
        assert job.work is not None
        driver = self._driver
        # not begin_nested: its bookkeeping costs more than most of the work done inside
        driver.execute("SAVEPOINT job")
        try:
            result = job.work(connection)
        except Exception as error:
            if not driver.in_transaction:
                raise  # a full disk ends the whole transaction, whatever the savepoints
            driver.execute("ROLLBACK TO job")
            driver.execute("RELEASE job")
            if isinstance(
                error, exc.OperationalError | exc.DatabaseError | sqlite3.OperationalError
            ) and not isinstance(error, exc.IntegrityError):
                return None, self.condition.note(error)
            return None, error
        driver.execute("RELEASE job")
        return result, None

    def _failed(self, jobs: list[_Job], error: Exception) -> None:
        ours = self._note_fault(error)
        if not isinstance(ours, Unavailable):
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
        except (exc.DBAPIError, exc.TimeoutError) as error:
            raise self.condition.note(error) from error

    def used_bytes(self) -> int:
        """Size of the file without the pages that deletions left free."""
        with self.read() as connection:
            pages, free, size = (
                connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("page_count", "freelist_count", "page_size")
            )
        return int((pages - free) * size)

    def close(self) -> None:
        """Commit what is waiting, then close. Later submissions raise Unavailable."""
        if self._closing:
            return
        self._checkpoints.close()
        self._closing = True
        self._wake.set()
        self._writer.join()
        self._writer_connection.close()
        self.engine.dispose()


class _Batches:
    """Rows of a group by statement."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._rows: dict[str, list[tuple[Any, ...]]] = {}
        self._touched: dict[str, str] = {}

    def add(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        for row in rows:
            key = row[0]
            if isinstance(key, str):
                if self._touched.get(key, statement) != statement:
                    self.flush()
                self._touched[key] = statement
            self._rows.setdefault(statement, []).append(row)

    def flush(self) -> None:
        for statement, rows in self._rows.items():
            _execute_many(self._driver, statement, rows)
        self._rows.clear()
        self._touched.clear()


def _execute_many(driver: Any, statement: str, rows: list[tuple[Any, ...]]) -> None:
    """As `executemany`, in few statements of many rows: the driver gives up the interpreter lock once a
    statement, and getting it back costs far more than the row when other threads are busy (measured)."""
    start = 0
    for size in _WIDTHS:
        while len(rows) - start >= size:
            part = rows[start : start + size]
            start += size
            driver.execute(_widened(statement, size), [value for row in part for value in row])


@lru_cache(maxsize=512)
def _widened(statement: str, size: int) -> str:
    """`… VALUES (?, ?) …` or `… = ?` for `size` rows at once."""
    if size == 1:
        return statement
    if (values := _VALUES.search(statement)) is not None:
        return statement[: values.start(1)] + ", ".join([values[1]] * size) + statement[values.end(1) :]
    head, equals, rest = statement.rpartition("= ?")
    if not equals or rest:
        raise ValueError(f"not a statement for rows: {statement}")
    return f"{head}IN ({', '.join('?' * size)})"


def _begin(connection: sa.Connection) -> None:
    if not connection.get_execution_options().get("by_hand"):
        connection.exec_driver_sql("BEGIN")
