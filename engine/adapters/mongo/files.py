"""Files in MongoDB: a record for each in `files`, which says which contents it consists of.

New content is written beside the old one, and then the record is changed in one transaction: a reader,
or a crash, sees the old content or the new. An append adds a part; a last part smaller than a chunk is
written anew together with what is added, so that many small appends do not make many parts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import IO, Any

from pymongo import IndexModel
from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from engine.adapters import file_records as records
from engine.adapters.file_records import Content, Digests, Written
from engine.adapters.mongo import encoding, operations, state
from engine.adapters.mongo import query as queries
from engine.adapters.mongo.connection import Mongo, translated
from engine.adapters.mongo.contents import CHUNK, Contents, Part
from engine.errors import NotFound, Unavailable
from engine.model.file import FileRecord
from engine.ports import Clock, Doc, Query, Where

COLLECTION = "files"
_STRIPES = 64
_PATHS = frozenset(path for index in records.INDEXES for path in index)


@dataclass(frozen=True, slots=True)
class _File:
    record: FileRecord
    parts: tuple[Part, ...]


class MongoFiles:
    """`ports.Files`."""

    def __init__(self, mongo: Mongo, clock: Clock, max_bytes: int) -> None:
        self._mongo = mongo
        self._clock = clock
        self._max_bytes = max_bytes
        self._contents = Contents(mongo, clock, max_bytes)
        self._digests = Digests()
        # threads of this process wait for each other; against other processes the transactions suffice
        self._locks = [Lock() for _ in range(_STRIPES)]
        indexes = [
            IndexModel([(path, 1) for path in (*paths, "_id")], name=f"ix_{'_'.join(paths)}".replace(".", "_"))
            for paths in records.INDEXES
        ]
        with translated("file storage"):
            self._collection.create_indexes(indexes)
        self._contents.sweep()

    @property
    def _collection(self) -> Collection[Doc]:
        return self._mongo.database[COLLECTION]

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
        new = records.made(file_id, filename, content_type, metadata, created, self._clock.now())
        _stored(_File(new, ()))
        return self._repeated(new.file_id, op_id) or self._store(new.file_id, content, lambda old: new, op_id)

    def replace(
        self, file_id: str, content: Content, *, op_id: str | None = None, expect: str | None = None
    ) -> FileRecord:
        """New content under the same id, name and type; the upload date is now."""
        repeated = self._repeated(file_id, op_id)
        if repeated is not None:
            return repeated
        records.check_unchanged(self.info(file_id), expect)  # before the content is read, which may take long

        def renew(old: FileRecord | None) -> FileRecord:
            return records.renewed(old, file_id, expect, self._clock.now())

        return self._store(file_id, content, renew, op_id)

    def append(
        self, file_id: str, content: bytes, *, op_id: str | None = None, expect: str | None = None
    ) -> FileRecord:
        with self._lock(file_id):
            while True:
                repeated = self._repeated(file_id, op_id)
                if repeated is not None:
                    return repeated
                old = self._load(file_id)
                records.check_unchanged(old.record, expect)
                records.check_size(old.record.length + len(content), self._max_bytes)
                try:
                    return self._extend(old, content, op_id)
                except _OvertakenError:
                    continue

    def update_metadata(self, file_id: str, metadata: Mapping[str, Any]) -> FileRecord:
        """Set the given keys; None removes one."""

        def merge(old: _File | None) -> _File:
            known = _existing(old, file_id)
            merged = {key: value for key, value in {**known.record.metadata, **metadata}.items() if value is not None}
            return replace(known, record=replace(known.record, metadata=merged))

        with self._lock(file_id):
            return self._change(file_id, merge)

    def info(self, file_id: str) -> FileRecord:
        return self._load(file_id).record

    def open(self, file_id: str) -> IO[bytes]:
        """It reads what was there when it was opened, for at least an hour after the file has other content."""
        file, now = self._load(file_id), self._clock.now()
        if now - file.record.used >= records.USED_EXACT:
            with translated(f"file {file_id}"):
                self._collection.update_one({"_id": file_id}, {"$max": {"used": now}})
        return self._contents.open(file.parts)

    def delete(self, file_id: str) -> bool:
        def work(session: ClientSession) -> bool:
            old = self._find(file_id, session)
            if old is None:
                return False
            self._collection.delete_one({"_id": file_id}, session=session)
            self._contents.part(session, old.parts)
            return True

        with self._lock(file_id):
            deleted = self._mongo.transaction(work, what=f"file {file_id}")
        self._contents.sweep()
        return deleted

    def find(self, query: Query) -> list[FileRecord]:
        condition = self._filter(query.where, query.any_of)
        if query.limit is not None and query.limit <= 0:
            return []
        with translated("files"):
            cursor = self._collection.find(condition, {"parts": 0}, max(query.offset, 0), query.limit or 0)
            if query.sort:
                cursor = cursor.sort(queries.order(query)).allow_disk_use(True)
            return [records.from_doc(encoding.decode(stored)) for stored in cursor]

    def count(self, query: Query) -> int:
        """How many match; limit and offset do not matter."""
        condition = self._filter(query.where, query.any_of)
        with translated("files"):
            return self._collection.count_documents(condition)

    def total_bytes(self, where: Sequence[Where] = ()) -> int:
        condition = self._filter(where)
        added = {"$group": {"_id": None, "bytes": {"$sum": "$length"}}}
        with translated("files"):
            found = list(self._collection.aggregate([{"$match": condition}, added]))
        return int(found[0]["bytes"]) if found else 0

    # -- inside

    def _filter(self, where: Sequence[Where], any_of: Sequence[Where] = ()) -> queries.Filter:
        with translated("files"):
            return queries.matching(self._collection, where, any_of, _PATHS)

    def _store(
        self,
        file_id: str,
        content: Content,
        describe: Callable[[FileRecord | None], FileRecord],
        op_id: str | None,
    ) -> FileRecord:
        """Write the content without a lock (it may be a slow upload), then make it that of the file."""
        parts, written = self._contents.write(content)

        def describe_all(old: _File | None) -> _File:
            described = describe(None if old is None else old.record)
            record = replace(described, length=written.length, md5=written.digest.hexdigest())
            return _File(record, tuple(parts))

        with self._lock(file_id):
            record = self._change(file_id, describe_all, op_id, parts)
        self._digests.put(_version(parts), written)
        self._contents.sweep()
        return record

    def _extend(self, old: _File, content: bytes, op_id: str | None) -> FileRecord:
        """Raises _OvertakenError when the file has changed meanwhile."""
        digest = self._digests.take(_version(old.parts), old.record.length) or self._digest(old)
        digest.update(content)
        kept, last = old.parts, b""
        if content and old.parts and old.parts[-1].length < CHUNK:
            kept = old.parts[:-1]
            with self._contents.open(old.parts[-1:]) as file:
                last = file.read()
        parts, _ = self._contents.write(last + content) if content else ([], None)
        whole = Written(old.record.length + len(content), digest)

        def longer(now: _File | None) -> _File:
            known = _existing(now, old.record.file_id)
            if known.parts != old.parts:
                raise _OvertakenError
            record = replace(known.record, length=whole.length, md5=digest.hexdigest(), used=self._clock.now())
            return _File(record, (*kept, *parts))

        record = self._change(old.record.file_id, longer, op_id, parts)
        self._digests.put(_version([*kept, *parts]), whole)
        self._contents.sweep()
        return record

    def _change(
        self,
        file_id: str,
        work: Callable[[_File | None], _File],
        op_id: str | None = None,
        fresh: Sequence[Part] = (),
    ) -> FileRecord:
        """Make of a file what `work` makes of it, once for an operation. `fresh` are new parts that it may use."""

        def attempt(session: ClientSession) -> _File:
            old = self._find(file_id, session)
            if old is not None and self._is_done(file_id, op_id, session):
                return old
            new = work(old)
            before = old.parts if old is not None else ()
            self._collection.replace_one({"_id": file_id}, _stored(new), upsert=True, session=session)
            self._contents.join(session, new.record.filename, [part for part in new.parts if part not in before])
            self._contents.part(session, [part for part in before if part not in new.parts])
            if op_id is not None:
                done = operations.remembering(_operation(file_id, op_id), None, self._clock.now())
                self._mongo.database[state.COLLECTION].bulk_write([done], session=session)
            return new

        try:
            settled = self._mongo.transaction(attempt, what=f"file {file_id}")
        except Unavailable:  # they may belong to the file all the same; if not, they are leftovers
            raise
        except BaseException:
            self._contents.discard(fresh)
            raise
        if any(part not in settled.parts for part in fresh):
            self._contents.discard(fresh)
        return settled.record

    def _repeated(self, file_id: str, op_id: str | None) -> FileRecord | None:
        """The record as it is, when the operation was applied to the file before."""
        with translated(f"file {file_id}"):
            if not self._is_done(file_id, op_id):
                return None
            found = self._find(file_id)
        return None if found is None else found.record

    def _is_done(self, file_id: str, op_id: str | None, session: ClientSession | None = None) -> bool:
        if op_id is None:
            return False
        wanted = {"_id": _operation(file_id, op_id)}
        return operations.counts(
            self._mongo.database[state.COLLECTION].find_one(wanted, session=session), self._clock.now()
        )

    def _find(self, file_id: str, session: ClientSession | None = None) -> _File | None:
        found = self._collection.find_one({"_id": file_id}, session=session)
        if found is None:
            return None
        doc = encoding.decode(found)
        return _File(records.from_doc(doc), tuple(Part(*part) for part in doc["parts"]))

    def _load(self, file_id: str) -> _File:
        with translated(f"file {file_id}"):
            found = self._find(file_id)
        if found is None:
            raise NotFound(f"there is no file {file_id}")
        return found

    def _digest(self, file: _File) -> Any:
        digest = hashlib.md5(usedforsecurity=False)
        with self._contents.open(file.parts) as content:
            while piece := content.read(records.PIECE):
                digest.update(piece)
        return digest

    def _lock(self, file_id: str) -> Lock:
        return self._locks[hash(file_id) % _STRIPES]


class _OvertakenError(Exception):
    """The file has other content than what was to be appended to."""


def _existing(file: _File | None, file_id: str) -> _File:
    if file is None:
        raise NotFound(f"file {file_id} was deleted meanwhile")
    return file


def _operation(file_id: str, op_id: str) -> str:
    return operations.operation_id(records.owner(file_id), op_id)


def _version(parts: Sequence[Part]) -> str:
    """Of a content: every change of it ends with another part."""
    return parts[-1].id if parts else ""


def _stored(file: _File) -> Doc:
    key = file.record.file_id
    doc = {**records.to_doc(file.record), "_id": key, "parts": [list(part) for part in file.parts]}
    return encoding.encode(doc, f"the record of file {key}")
