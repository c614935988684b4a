"""One SQLite file, one writer thread, group commit (design.md §3).

Everybody who writes submits a piece of work; the writer runs all that is waiting in one
transaction, so that many threads share one fsync. A piece of work runs inside a savepoint:
if it raises, only its own future fails. Statements that many pieces have in common (a
settlement's inserts) are given as rows and executed together, once per group.
"""

from __future__ import annotations

import logging
import re
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
        self.fault: HeadraceError | None = None
        try:
            # its transactions are begun and ended by hand, see _commit: SQLAlchemy's cost as much as the work
            self._writer_connection = self.engine.connect().execution_options(by_hand=True)
        except exc.DBAPIError as error:
            raise self._why(error) from error
        self._writer = threading.Thread(target=self._run, name=f"writer {path.name}", daemon=True)
        self._writer.start()

    def _why(self, error: exc.DBAPIError) -> HeadraceError:
        """A file that holds something else is told apart from one that cannot be read."""
        from sqlalchemy_utils.functions.database import database_exists  # costs 20 MB: only when it is needed

        if self.path.is_file() and self.path.stat().st_size and not database_exists(self.engine.url):  # type: ignore[no-untyped-call]
            return Unavailable(f"{self.path.name}: the file is damaged or no database at all", code="STORAGE")
        return translate(error, self.path)

    def _connected(self, connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are begun by us, see _begin
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "busy_timeout=5000",
            "foreign_keys=OFF",
            "cache_size=-512",
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
        driver = connection.connection.driver_connection
        assert driver is not None
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
            if driver.in_transaction:
                driver.execute("ROLLBACK")
            self._failed(jobs, error)
            return
        self.fault = None
        for job, result, failure in results:
            if failure is not None:
                job.future.set_exception(failure)
                continue
            if job.after is not None:
                job.after()
            job.future.set_result(result)

    def _perform(self, connection: sa.Connection, job: _Job) -> tuple[Any, BaseException | None]:
        assert job.work is not None
        driver = connection.connection.driver_connection
        assert driver is not None
        # not begin_nested: its bookkeeping costs more than most of the work done inside
        driver.execute("SAVEPOINT job")
        try:
            result = job.work(connection)
        except Exception as error:  # noqa: BLE001 - it belongs to the one who submitted the work
            driver.execute("ROLLBACK TO job")
            driver.execute("RELEASE job")
            if isinstance(error, exc.OperationalError | exc.DatabaseError) and not isinstance(
                error, exc.IntegrityError
            ):
                ours = translate(error, self.path)
                ours.__cause__ = error
                return None, ours
            return None, error
        driver.execute("RELEASE job")
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
