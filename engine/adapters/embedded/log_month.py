"""One month of the run log in one SQLite file: its schema, its writer and its readers (design.md §3).

This is the hottest writer of the product. Records go in by statements of many rows, not by
`executemany`: the driver gives up the interpreter lock once per execution of a statement, and a
thread that competes for it may keep it for 5 ms each time (measured with one busy thread: 0.08 ms
a record instead of 0.55). The text index is filled by one INSERT … SELECT over the rows that are
new, which keeps it consistent when a record is delivered again.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import sqlalchemy as sa
from sqlalchemy import event, exc

from engine.adapters.embedded import log_executions
from engine.adapters.embedded.faults import translate
from engine.adapters.runlog.fields import FIELDS, READ_SECONDS, SEARCHED, mended, month_span
from engine.errors import BadRequest, HeadraceError, TimedOut
from engine.model.execution import ExecutionRow
from engine.ports import Doc

log = logging.getLogger(__name__)

_DELETE_ROWS = 2000
MERGE_PAGES = 500
_CHUNKS = (256, 32, 4, 1)


class _Any(sa.types.UserDefinedType[Any]):
    """A column that keeps the type it is given (run ids are numbers or text)."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "BLOB"


def _column(name: str) -> sa.Column[Any]:
    kind: Any = {"created": sa.Integer(), "runId": _Any()}.get(name, sa.Text())
    return sa.Column(name, kind, nullable=name not in ("id", "created"))


_metadata = sa.MetaData()
_table = sa.Table(
    "log",
    _metadata,
    sa.Column("rowid", sa.Integer, primary_key=True),
    *(_column(name) for name in FIELDS),
    sa.Column("extra", sa.Text),
)
sa.Index("log_id", _table.c.id, unique=True)
sa.Index("log_created", _table.c.created)
sa.Index("log_flow", _table.c.flowId, _table.c.created)
sa.Index("log_correlation", _table.c.correlationId)
# Errors are few and asked for often (engine.md §5, OnError polls for them); this index costs nothing else.
sa.Index("log_errors", _table.c.severity, _table.c.flowId, _table.c.created, sqlite_where=_table.c.severity == "error")

_searched = ", ".join(f'"{name}"' for name in SEARCHED)
# detail=full is needed for phrases; column sizes serve ranking only, and nothing is ranked here.
_TEXT_INDEX = (
    f"CREATE VIRTUAL TABLE IF NOT EXISTS log_fts USING fts5({_searched}, content='log', content_rowid='rowid',"
    " tokenize='unicode61 remove_diacritics 2', detail=full, columnsize=0)"
)
_WIDTH = len(FIELDS) + 1
_ROW = f"(NULL{', ?' * _WIDTH})"
_INSERTS = {rows: f"INSERT OR IGNORE INTO log VALUES {', '.join([_ROW] * rows)}" for rows in _CHUNKS}  # noqa: S608
_INDEX_NEW = f"INSERT INTO log_fts (rowid, {_searched}) SELECT rowid, {_searched} FROM log WHERE rowid > ?"  # noqa: S608
_UNINDEX = (
    f"INSERT INTO log_fts (log_fts, rowid, {_searched}) SELECT 'delete', rowid, {_searched} FROM log"  # noqa: S608
    " WHERE rowid IN (SELECT value FROM json_each(?))"
)


class MonthGone(HeadraceError):
    """Retention removed the file (or its making was interrupted): there is nothing to read."""


class LogMonth:
    """The file `log-YYYYMM.db`. Writing methods are called by one thread at a time."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.span = month_span(name)
        self.path = folder / f"log-{name}.db"
        self._readers = _engine(self.path, "rw")
        self._writer: sa.Connection | None = None
        self._open = 0
        self._gone = False
        self._left = threading.Condition()

    # -- writing

    def append(self, records: Sequence[Doc], deliveries: Sequence[Doc] = ()) -> None:
        """Store the records not stored yet and count the deliveries not counted yet, in one durable transaction."""
        try:
            self._insert([_row(record) for record in records], deliveries)
        except (exc.InterfaceError, exc.ProgrammingError, TypeError, ValueError, OverflowError) as error:
            # One record nobody can store must not hold up all that follow.
            log.warning("mending log records", extra={"action": "log_mended", "reason": str(error)[:200]})
            self._insert([_row(mended(record)) for record in records], deliveries)

    def _insert(self, rows: list[list[Any]], deliveries: Sequence[Doc]) -> None:
        with self._transaction() as connection:
            if deliveries:
                log_executions.count(connection, deliveries)
            if not rows:
                return
            before = connection.exec_driver_sql("SELECT coalesce(max(rowid), 0) FROM log").scalar_one()
            start = 0
            for size in _CHUNKS:
                while start + size <= len(rows):
                    values = tuple(chain.from_iterable(rows[start : start + size]))
                    connection.exec_driver_sql(_INSERTS[size], values)
                    start += size
            connection.exec_driver_sql(_INDEX_NEW, (before,))

    def stop_flow(self, record: Doc) -> None:
        """Cancel the open executions of a run that ended (a record of type "flow-stopped")."""
        with self._transaction() as connection:
            log_executions.stop_flow(connection, record)

    def conclude(self, rows: Sequence[ExecutionRow]) -> None:
        with self._transaction() as connection:
            log_executions.conclude(connection, rows)

    def delete_executions(self, before_ms: int | None, flow_ids: Sequence[str]) -> int:
        """Delete one batch; the number deleted, 0 when none is left."""
        if not self.path.exists():
            return 0
        with self._transaction() as connection:
            return log_executions.delete(connection, before_ms, flow_ids, _DELETE_ROWS)

    def delete(self, where: str, values: tuple[Any, ...]) -> int:
        """Delete one batch of the rows that match; the number deleted, 0 when none is left."""
        if not self.path.exists():
            return 0
        query = f"SELECT rowid FROM log WHERE {where} LIMIT {_DELETE_ROWS}"  # noqa: S608 - our own fragments
        with self._transaction() as connection:
            found = [row[0] for row in connection.exec_driver_sql(query, values)]
            if found:
                chosen = (orjson.dumps(found).decode(),)
                connection.exec_driver_sql(_UNINDEX, chosen)
                connection.exec_driver_sql(
                    "DELETE FROM log WHERE rowid IN (SELECT value FROM json_each(?))",
                    chosen,
                )
        return len(found)

    def used_bytes(self) -> int:
        """Size of the file without the pages that deletions left free; 0 when it is gone."""
        try:
            with self.reading() as connection:
                pages, free, size = (
                    connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                    for name in ("page_count", "freelist_count", "page_size")
                )
        except MonthGone:
            return 0
        return int((pages - free) * size)

    def oldest(self, share: float) -> int | None:
        """When the newest of the oldest `share` (0 to 1) of the records was made; None without records."""
        with self.reading() as connection:
            count = connection.exec_driver_sql("SELECT count(*) FROM log").scalar_one()
            place = min(int(count * share), count - 1)
            query = "SELECT created FROM log ORDER BY created LIMIT 1 OFFSET ?"
            found: int | None = connection.exec_driver_sql(query, (place,)).scalar() if count else None
            return found

    def merge_text_index(self) -> Callable[[], int]:
        """Deletions only add to the text index until it is merged. → what does a piece of that: 0 when it is done."""
        pages = -MERGE_PAGES  # negative: begin to merge everything

        def piece() -> int:
            nonlocal pages
            with self._transaction() as connection:
                before = connection.exec_driver_sql("SELECT total_changes()").scalar_one()
                connection.exec_driver_sql("INSERT INTO log_fts (log_fts, rank) VALUES ('merge', ?)", (pages,))
                done = connection.exec_driver_sql("SELECT total_changes()").scalar_one() - before
            pages = MERGE_PAGES
            return int(done >= 2)  # the statement itself is one change

        return piece

    def retire(self) -> int:
        """Let nobody read any more, and wait until those who do have left. The number of records it holds.

        SQLite must not lose a file it is opening: a reader would pair the old database with the
        log of its successor. Waiting is bounded by READ_SECONDS.
        """
        try:
            with self.reading() as connection:
                held: int = connection.exec_driver_sql("SELECT count(*) FROM log").scalar_one()
        except HeadraceError:  # a damaged file is removed as well
            held = 0
        with self._left:
            self._gone = True
            self._left.wait_for(lambda: self._open == 0)
        return held

    def remove(self) -> None:
        """Delete the file of a retired month."""
        self.close()
        _unlink(self.path)

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            if self._writer is None:
                self._writer = self._open_writer()
            with self._writer.begin():
                yield self._writer
        except (exc.InterfaceError, exc.ProgrammingError):
            raise  # a value the driver cannot bind, see append
        except exc.DBAPIError as error:
            raise translate(error, self.path) from error

    def _open_writer(self) -> sa.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = _engine(self.path, "rwc").connect()
        with connection.begin():
            _metadata.create_all(connection)
            log_executions.metadata.create_all(connection)
            connection.exec_driver_sql(_TEXT_INDEX)
            # Merge sixteen segments at a time instead of four, and never all at once: a tenth less work.
            for option, value in (("automerge", 16), ("crisismerge", 64)):
                connection.exec_driver_sql("INSERT INTO log_fts (log_fts, rank) VALUES (?, ?)", (option, value))
        return connection

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer.engine.dispose()
            self._writer = None

    def check(self) -> None:
        """Raises Unavailable when the file is no database, or its tables cannot be read."""
        try:
            with self.reading() as connection:
                connection.exec_driver_sql("SELECT max(rowid), max(id) FROM log").one()
        except MonthGone:
            pass  # an empty file: its making was interrupted

    # -- reading

    @contextmanager
    def reading(self, seconds: float = READ_SECONDS) -> Iterator[sa.Connection]:
        """A connection for one search. Raises MonthGone, TimedOut, Unavailable."""
        with self._left:
            if self._gone:
                raise MonthGone(f"{self.path.name} is gone")
            self._open += 1
        try:
            with self._readers.connect() as connection:
                _limit_time(connection, seconds)
                yield connection
        except exc.DBAPIError as error:
            text = str(error.orig)
            if "interrupted" in text:
                raise TimedOut(
                    f"The search took longer than {seconds:.0f} s; narrow it by flow, time or words."
                ) from error
            if text.startswith("fts5:"):
                raise BadRequest(f"query: {text.removeprefix('fts5:').strip()}") from error
            if "no such table" in text or not self.path.exists():
                raise MonthGone(f"{self.path.name} is gone") from error
            raise translate(error, self.path) from error
        finally:
            with self._left:
                self._open -= 1
                self._left.notify_all()


def _engine(path: Path, mode: str) -> sa.Engine:
    """`mode` "rw" opens only what exists: a reader must not make an empty file in place of a removed one."""
    uri = f"file:{quote(str(path))}?mode={mode}"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(uri, uri=True, check_same_thread=False, timeout=5, cached_statements=64)
        connection.isolation_level = None
        pragmas = ["busy_timeout=5000", "temp_store=MEMORY", "cache_size=-4096"]
        if mode == "rwc":
            pragmas += ["page_size=8192", "journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=4000"]
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")
        return connection

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.NullPool, hide_parameters=True)
    if mode == "rwc":
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def _limit_time(connection: sa.Connection, seconds: float) -> None:
    driver: Any = connection.connection.driver_connection
    deadline = time.monotonic() + seconds
    driver.set_progress_handler(lambda: time.monotonic() > deadline, 20_000)


def _unlink(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _row(record: Doc) -> list[Any]:
    row: list[Any] = [*map(record.get, FIELDS), None]
    if len(record) > _WIDTH - row.count(None):
        rest = {key: value for key, value in record.items() if key not in _FIELD_SET}
        if rest:
            row[-1] = orjson.dumps(rest).decode()
    return row


_FIELD_SET = frozenset(FIELDS)
