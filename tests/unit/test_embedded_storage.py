"""What only the embedded adapters promise: use of indexes, recovery after a crash, bounded size."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from engine.adapters.embedded import operations
from engine.adapters.embedded.cache import MemoryCache
from engine.adapters.embedded.database import Database
from engine.adapters.embedded.documents import SqliteDocuments, delete_sql, put_sql
from engine.adapters.embedded.files import SqliteFiles
from engine.adapters.embedded.query_sql import Source, create, register_functions, select, table_source
from engine.adapters.embedded.state import SqliteState
from engine.errors import Unavailable
from engine.ports import Query, Where

HOUR = 3_600_000


class Clock:
    ms = 1_790_000_000_000

    def now(self) -> int:
        return self.ms


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "headrace.db", on_connect=(register_functions,))
    yield database
    database.close()


# -- indexes


@pytest.fixture
def notes(database: Database) -> tuple[Database, Source]:
    table, source = table_source("notes", database.metadata, (("owner.id", "due"), ("!name",)))
    database.write(lambda connection: create(connection, table))
    return database, source


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query((Where("owner.id", "eq", "u"),)), "USING INDEX ix_notes_owner_id_due (<expr>=?)"),
        (Query((Where("owner.id", "eq", "{u"),)), "USING INDEX ix_notes_owner_id_due (<expr>=?)"),
        (Query((Where("owner.id", "eq", 5),)), "USING INDEX ix_notes_owner_id_due (<expr>=?)"),
        (Query((Where("owner.id", "eq", True),)), "USING INDEX ix_notes_owner_id_due (<expr>=?)"),
        (Query((Where("owner.id", "in", ["u", "v", 1]),)), "USING INDEX ix_notes_owner_id_due (<expr>=?)"),
        (
            Query((Where("owner.id", "eq", "u"), Where("due", "lte", 9), Where("tags", "eq", "x"))),
            "USING INDEX ix_notes_owner_id_due (<expr>=? AND <expr><?)",
        ),
        (Query((Where("name", "eq", "n"),)), "USING INDEX ux_notes_name (<expr>=?)"),
        (Query((Where("name", "starts", "n"),)), "USING INDEX ux_notes_name (<expr>>? AND <expr><?)"),
        (Query((Where("_id", "eq", "n"),)), "(id=?)"),
        (Query((Where("_id", "starts", "n:"),)), "(id>? AND id<?)"),
    ],
)
def test_declared_indexes_are_used(notes: tuple[Database, Source], query: Query, expected: str) -> None:
    assert expected in plan(*notes, query)


def test_an_index_gives_the_order(notes: tuple[Database, Source]) -> None:
    query = Query((Where("owner.id", "eq", "u"),), sort=(("due", -1),), limit=10)
    text = plan(*notes, query)
    assert "USING INDEX ix_notes_owner_id_due" in text
    assert "FOR ORDER BY" not in text  # at most the ids of equal keys are sorted


def plan(database: Database, source: Source, query: Query) -> str:
    statement = select(source, query, source.doc).compile(database.engine, compile_kwargs={"render_postcompile": True})
    parameters = tuple(statement.params[name] for name in statement.positiontup or ())
    with database.read() as connection:
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
    return "\n".join(row[-1] for row in rows)


def test_an_index_declared_later_is_made(tmp_path: Path) -> None:
    for indexes in ((), (("!name",),)):
        database = Database(tmp_path / "headrace.db", on_connect=(register_functions,))
        documents = SqliteDocuments(database, {"things": indexes})
        documents.put("things", {"_id": "1", "name": "n"})
        names = {row[0] for row in rows(database, "SELECT name FROM sqlite_master WHERE type = 'index'")}
        database.close()
        assert ("ux_doc_things_name" in names) == bool(indexes)


def rows(database: Database, sql: str) -> list[Any]:
    with database.read() as connection:
        return list(connection.execute(sa.text(sql)).all())


def test_a_settlements_statements_write_documents(database: Database) -> None:
    documents = SqliteDocuments(database)
    documents.put("ledger", {"_id": "old"})
    puts = [("m1", '{"_id":"m1","state":"done"}'), ("m2", '{"_id":"m2"}')]
    database.submit_rows([(put_sql("ledger"), puts), (delete_sql("ledger"), [("old",)])]).result(timeout=30)
    assert documents.get("ledger", "m1") == {"_id": "m1", "state": "done"}
    assert documents.count("ledger") == 2


# -- state


def test_old_operation_ids_are_removed_in_pieces(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "PURGE_ROWS", 10)
    clock = Clock()
    state = SqliteState(database, clock)
    for number in range(25):
        state.apply("flow:1", f"m{number}", "inc", "n")

    def kept() -> int:
        return int(rows(database, "SELECT count(*) FROM state_operations")[0][0])

    assert kept() == 25
    clock.ms += HOUR
    seen = []
    for number in range(3):
        state.apply("flow:1", f"later{number}", "inc", "n")
        seen.append(kept())
    assert seen == [16, 7, 3]
    assert state.get("flow:1", "n") == 28


# -- files


class Storage:
    """`open` is what a start of the process does: the same file and folder, opened anew."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "headrace.db"
        self.folder = folder / "files"
        self.database: Database | None = None

    def open(self) -> SqliteFiles:
        self.close()
        self.database = Database(self.path, on_connect=(register_functions,))
        return SqliteFiles(self.database, self.folder, Clock(), 1_000_000)

    def close(self) -> None:
        if self.database is not None:
            self.database.close()

    def contents(self) -> list[Path]:
        return [path for path in self.folder.glob("*/*") if path.is_file()]


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    storage = Storage(tmp_path)
    yield storage
    storage.close()


def save(files: SqliteFiles, content: bytes, file_id: str = "f1") -> None:
    files.save("a.txt", content, content_type="text/plain", metadata={}, file_id=file_id)


def load(files: SqliteFiles, file_id: str = "f1") -> bytes:
    with files.open(file_id) as file:
        return file.read()


def test_replaced_and_deleted_contents_leave_nothing_behind(storage: Storage) -> None:
    files = storage.open()
    save(files, b"one")
    save(files, b"two")
    files.replace("f1", b"three")
    assert len(storage.contents()) == 1
    files.delete("f1")
    assert storage.contents() == []


def test_a_crash_before_the_record_keeps_the_old_content(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    files = storage.open()
    save(files, b"old")

    def crash(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(files._blobs, "remove", crash)  # nobody tidies up after a crash
        patch.setattr(files, "_point", crash)
        with pytest.raises(SystemExit):
            files.replace("f1", b"new")
    assert load(files) == b"old"
    assert len(storage.contents()) == 2
    again = storage.open()
    assert len(storage.contents()) == 1
    assert load(again) == b"old"


def test_a_crash_after_the_record_shows_the_new_content(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    files = storage.open()
    save(files, b"old")

    def crash(_name: str) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(files._blobs, "remove", crash)
        with pytest.raises(SystemExit):
            files.replace("f1", b"new")
    again = storage.open()
    assert len(storage.contents()) == 1
    assert load(again) == b"new"


def test_an_append_cut_short_is_not_seen_and_is_overwritten(storage: Storage) -> None:
    files = storage.open()
    save(files, b"whole")
    with storage.contents()[0].open("ab") as file:
        file.write(b" half an app")
    files = storage.open()
    assert load(files) == b"whole"
    record = files.append("f1", b"!")
    assert load(files) == storage.contents()[0].read_bytes() == b"whole!"
    assert (record.length, record.md5) == (6, hashlib.md5(b"whole!").hexdigest())


def test_unfinished_uploads_are_removed_at_the_start(storage: Storage) -> None:
    storage.open()
    (storage.folder / "incoming" / "left-over").write_bytes(b"half")
    storage.open()
    assert storage.contents() == []


def test_a_lost_content_is_named(storage: Storage) -> None:
    files = storage.open()
    save(files, b"x")
    storage.contents()[0].unlink()
    with pytest.raises(Unavailable, match="f1"):
        files.open("f1")


@pytest.mark.parametrize("write", ["append", "replace"])
def test_a_full_disk_is_unavailable_and_keeps_the_old_content(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    files = storage.open()
    save(files, b"old")

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(Unavailable, match="the disk is full"):
            getattr(files, write)("f1", b"new")
    assert load(files) == b"old"
    assert len(storage.contents()) == 1
    record = files.append("f1", b"!")
    assert load(files) == b"old!"
    assert record.md5 == hashlib.md5(b"old!").hexdigest()


# -- cache


def test_the_cache_is_bounded_and_drops_what_was_set_longest_ago() -> None:
    cache = MemoryCache(max_entries=3)
    for key in ("a", "b", "c"):
        cache.set(key, key, ttl=60)
    cache.set("a", "again", ttl=60)
    cache.incr("d", 1, ttl=60)
    assert [cache.get(key) for key in "abcd"] == ["again", None, "c", 1]


def test_what_lapsed_does_not_pile_up() -> None:
    seconds = 0.0
    cache = MemoryCache(now=lambda: seconds)
    for number in range(3_000):
        cache.lock(f"lock{number}", "me", ttl=1)
        cache.set(f"key{number}", 1, ttl=1)
        cache.acquire_slot(f"queue{number}", "me", 1, ttl=1)
    seconds = 2.0
    for _ in range(4_096):
        cache.set("key", 1, ttl=1)
    assert (len(cache._locks), len(cache._entries), len(cache._queues)) == (0, 1, 0)
