"""Files in a folder beside the SQLite file: contents as plain files, records in a table.

A content is named `<file id>.<generation>`. New content is a new generation: written, synced
and renamed before the record points to it, so a reader (or a crash) sees the old content or
the new. Only `append` writes to a content in place, and only beyond the recorded length, where
nobody reads. What no record points to is removed at the next start.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import IO, Any
from uuid import uuid4

import orjson
import sqlalchemy as sa

from engine.adapters.embedded.blobs import CHUNK, BlobFolder
from engine.adapters.embedded.database import Database
from engine.adapters.embedded.documents import encode
from engine.adapters.embedded.operations import Operations
from engine.adapters.embedded.query_sql import create, matching, select, table_source
from engine.adapters.file_records import (
    INDEXES,
    USED_EXACT,
    Content,
    Digests,
    Written,
    check_size,
    check_unchanged,
    from_doc,
    made,
    owner,
    renewed,
    to_doc,
)
from engine.errors import NotFound, Unavailable
from engine.model.file import FileRecord
from engine.ports import Clock, Query, Where

log = logging.getLogger(__name__)

_STRIPES = 64

_GET = "SELECT doc, generation FROM files WHERE id = ?"
_PUT = (
    "INSERT INTO files (id, doc, generation) VALUES (?, ?, ?) "
    "ON CONFLICT (id) DO UPDATE SET doc = excluded.doc, generation = excluded.generation"
)
_DELETE = "DELETE FROM files WHERE id = ?"


class SqliteFiles:
    """`ports.Files`. One process owns the folder (design.md §3), so changes of a file are put
    in order by locks of this process."""

    def __init__(self, database: Database, folder: Path, clock: Clock, max_bytes: int) -> None:
        self._database = database
        self._clock = clock
        self._max_bytes = max_bytes
        self._blobs = BlobFolder(folder, max_bytes)
        self._locks = [Lock() for _ in range(_STRIPES)]
        self._digests = Digests()
        self._table, self._source = table_source(
            "files", database.metadata, INDEXES, sa.Column("generation", sa.Text, nullable=False)
        )
        self._operations = Operations(database.metadata)
        database.write(lambda connection: create(connection, self._table, self._operations.table))
        self._remove_orphans()

    def save(
        self,
        filename: str,
        content: Content,
        *,
        content_type: str,
        metadata: Mapping[str, Any],
        file_id: str | None = None,
        created: int | None = None,
        op_id: str | None = None,
    ) -> FileRecord:
        """A known `file_id` is replaced with its record. Raises BadRequest, TooLarge, Unavailable."""
        new = made(file_id, filename, content_type, metadata, created, self._clock.now())
        encode(new.to_json(), f"the record of file {new.file_id}")
        return self._repeated(new.file_id, op_id) or self._store(new.file_id, content, lambda old: new, op_id)

    def replace(
        self, file_id: str, content: Content, *, op_id: str | None = None, expect: str | None = None
    ) -> FileRecord:
        """New content under the same id, name and type; the upload date is now."""
        repeated = self._repeated(file_id, op_id)
        if repeated is not None:
            return repeated
        check_unchanged(self.info(file_id), expect)  # before the content is read, which may take long
        return self._store(file_id, content, lambda old: renewed(old, file_id, expect, self._clock.now()), op_id)

    def append(
        self, file_id: str, content: bytes, *, op_id: str | None = None, expect: str | None = None
    ) -> FileRecord:
        with self._lock(file_id):
            repeated = self._repeated(file_id, op_id)
            if repeated is not None:
                return repeated
            record, generation = self._load(file_id)
            check_unchanged(record, expect)
            length = record.length + len(content)
            check_size(length, self._max_bytes)
            name = f"{file_id}.{generation}"
            digest = self._digests.take(name, record.length) or self._digest(file_id)
            self._blobs.extend(name, record.length, content)
            digest.update(content)
            record = replace(record, length=length, md5=digest.hexdigest(), used=self._clock.now())
            self._point(record, generation, op_id)
            self._digests.put(name, Written(length, digest))
            return record

    def update_metadata(self, file_id: str, metadata: Mapping[str, Any]) -> FileRecord:
        """Set the given keys; None removes one."""
        with self._lock(file_id):
            record, generation = self._load(file_id)
            merged = {key: value for key, value in {**record.metadata, **metadata}.items() if value is not None}
            record = replace(record, metadata=merged)
            self._point(record, generation)
            return record

    def info(self, file_id: str) -> FileRecord:
        return self._load(file_id)[0]

    def open(self, file_id: str) -> IO[bytes]:
        """A buffered reader that can seek; it keeps its content when the file is replaced or deleted."""
        for _ in range(8):  # a replacement may remove the content between the two steps
            record, generation = self._load(file_id)
            if self._clock.now() - record.used >= USED_EXACT:
                self._touch(file_id)
            try:
                return self._blobs.open(f"{file_id}.{generation}", record.length)
            except FileNotFoundError:
                continue
        raise Unavailable(f"the content of file {file_id} is missing on the disk", code="STORAGE")

    def _touch(self, file_id: str) -> None:
        with self._lock(file_id):
            found = self._find(file_id)
            if found is not None:
                self._point(replace(found[0], used=self._clock.now()), found[1])

    def delete(self, file_id: str) -> bool:
        with self._lock(file_id):
            try:
                _, generation = self._load(file_id)
            except NotFound:
                return False
            self._database.write(lambda connection: connection.exec_driver_sql(_DELETE, (file_id,)))
            self._blobs.remove(f"{file_id}.{generation}")
            return True

    def find(self, query: Query) -> list[FileRecord]:
        statement = select(self._source, query, self._table.c.doc)
        with self._database.read() as connection:
            return [from_doc(orjson.loads(text)) for text in connection.execute(statement).scalars()]

    def count(self, query: Query) -> int:
        """How many match; limit and offset do not matter."""
        condition = matching(self._source, query.where, query.any_of)
        with self._database.read() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(self._table).where(condition)).scalar_one()

    def total_bytes(self, where: Sequence[Where] = ()) -> int:
        length = sa.func.json_extract(self._table.c.doc, "$.length")
        statement = sa.select(sa.func.coalesce(sa.func.sum(length), 0)).where(matching(self._source, where))
        with self._database.read() as connection:
            return int(connection.execute(statement).scalar_one())

    # -- inside

    def _repeated(self, file_id: str, op_id: str | None) -> FileRecord | None:
        """The record as it is, when the operation was applied to the file before."""
        if op_id is None:
            return None
        with self._database.read() as connection:
            seen = self._operations.seen(connection, op_id, owner(file_id), self._clock.now())
        found = None if seen is None else self._find(file_id)
        return found and found[0]

    def _store(
        self,
        file_id: str,
        content: Content,
        describe: Callable[[FileRecord | None], FileRecord],
        op_id: str | None,
    ) -> FileRecord:
        """Write a new generation without a lock (it may be a slow upload), then point to it under one."""
        generation = uuid4().hex
        name = f"{file_id}.{generation}"
        written = self._blobs.write(name, content)
        repeated = None
        try:
            with self._lock(file_id):
                repeated = self._repeated(file_id, op_id)
                if repeated is None:
                    old = self._find(file_id)
                    described: FileRecord = describe(old and old[0])
                    record = replace(described, length=written.length, md5=written.digest.hexdigest())
                    self._point(record, generation, op_id)
        except BaseException:
            self._blobs.remove(name)
            raise
        if repeated is not None:
            self._blobs.remove(name)
            return repeated
        self._digests.put(name, written)
        if old is not None:
            self._blobs.remove(f"{file_id}.{old[1]}")
        return record

    def _point(self, record: FileRecord, generation: str, op_id: str | None = None) -> None:
        """Store the record, and that the operation is done: both or neither."""
        row = (record.file_id, encode(to_doc(record), f"the record of file {record.file_id}"), generation)
        now = self._clock.now()

        def work(connection: sa.Connection) -> None:
            connection.exec_driver_sql(_PUT, row)
            if op_id is not None:
                self._operations.remember(connection, op_id, owner(record.file_id), "null", now)

        self._database.write(work)

    def _find(self, file_id: str) -> tuple[FileRecord, str] | None:
        with self._database.read() as connection:
            row = connection.exec_driver_sql(_GET, (file_id,)).first()
        return None if row is None else (from_doc(orjson.loads(row[0])), row[1])

    def _load(self, file_id: str) -> tuple[FileRecord, str]:
        found = self._find(file_id)
        if found is None:
            raise NotFound(f"there is no file {file_id}")
        return found

    def _digest(self, file_id: str) -> Any:
        digest = hashlib.md5(usedforsecurity=False)
        with self.open(file_id) as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
        return digest

    def _lock(self, file_id: str) -> Lock:
        return self._locks[hash(file_id) % _STRIPES]

    def _remove_orphans(self) -> None:
        with self._database.read() as connection:
            rows = connection.execute(sa.select(self._table.c.id, self._table.c.generation)).all()
        removed = self._blobs.sweep({f"{file_id}.{generation}" for file_id, generation in rows})
        if removed:
            log.info("removed unfinished files", extra={"action": "files_swept", "count": removed})
