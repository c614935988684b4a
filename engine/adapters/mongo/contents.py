"""Contents of files in GridFS's layout: `contents.chunks` and `contents.files`, so that its tools read them.

A content never changes. It is either part of a file or in `contents.leftovers`, from before its first byte
is written until it becomes part of one, and again from when it no longer is: `join` and `part` are done in
the transaction that changes the file's record. Leftovers are removed when they are due, which leaves time
for those who still read them.
"""

from __future__ import annotations

import hashlib
import io
import logging
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import IO, Any, NamedTuple
from uuid import uuid4

from pymongo import IndexModel
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import PyMongoError

from engine.adapters.file_records import Content, Written, check_size, pieces
from engine.adapters.mongo.connection import STORAGE, Mongo, translated
from engine.errors import HeadraceError, Unavailable
from engine.ports import Clock, Doc

log = logging.getLogger(__name__)

CHUNK = 261_120
"""Bytes of a chunk, as GridFS has them."""

_TOGETHER = 16
"""Chunks written, or read ahead, at a time."""

UPLOAD_MS = 86_400_000
"""How long writing a content may take."""

READ_MS = 3_600_000
"""How long a content is kept for those who read it when the file has another."""

_SWEEP_MS = 60_000
_SWEEP_PIECE = 20


class Part(NamedTuple):
    """A content, or a piece of one that grew: its id and its size in bytes."""

    id: str
    length: int


class Contents:
    def __init__(self, mongo: Mongo, clock: Clock, max_bytes: int) -> None:
        self._mongo = mongo
        self._clock = clock
        self._max_bytes = max_bytes
        self._sweeping = threading.Lock()
        self._sweep_at = 0
        with translated("file storage"):
            self._chunks.create_indexes([IndexModel([("files_id", 1), ("n", 1)], name="files_id_1_n_1", unique=True)])
            self._leftovers.create_indexes([IndexModel("due", name="due")])

    @property
    def _chunks(self) -> Collection[Doc]:
        return self._mongo.database["contents.chunks"]

    @property
    def _files(self) -> Collection[Doc]:
        return self._mongo.database["contents.files"]

    @property
    def _leftovers(self) -> Collection[Doc]:
        return self._mongo.database["contents.leftovers"]

    def write(self, content: Content) -> tuple[list[Part], Written]:
        """A new content, durable and still a leftover; an empty one has no part.

        Raises TooLarge, Unavailable, and what reading `content` raises.
        """
        name, length, number, digest = uuid4().hex, 0, 0, hashlib.md5(usedforsecurity=False)
        try:
            for chunks in _batches(self._measured(content)):
                if length == 0:
                    self._announce(name)
                for chunk in chunks:
                    digest.update(chunk)
                    length += len(chunk)
                docs = [{"files_id": name, "n": number + n, "data": chunk} for n, chunk in enumerate(chunks)]
                with translated("file storage"):
                    self._chunks.insert_many(docs, ordered=False)
                number += len(chunks)
        except BaseException:
            if length:
                self.discard([Part(name, length)])
            raise
        return ([Part(name, length)] if length else []), Written(length, digest)

    def _measured(self, content: Content) -> Iterator[bytes]:
        length = 0
        for piece in pieces(content):
            length += len(piece)
            check_size(length, self._max_bytes)
            yield piece

    def _announce(self, id: str) -> None:
        with translated("file storage"):
            self._leftovers.insert_one({"_id": id, "due": self._clock.now() + UPLOAD_MS})

    def join(self, session: ClientSession, filename: str, parts: Sequence[Part]) -> None:
        """They become part of a file. Raises Unavailable when writing them took so long that they are being removed."""
        if not parts:
            return
        ids = [part.id for part in parts]
        kept = self._leftovers.delete_many({"_id": {"$in": ids}, "dying": None}, session=session).deleted_count
        if kept != len(parts):
            raise Unavailable(f"file {filename}: writing it took too long, write it again", code=STORAGE)
        moment = datetime.now(UTC)
        docs = [
            {"_id": part.id, "length": part.length, "chunkSize": CHUNK, "uploadDate": moment, "filename": filename}
            for part in parts
        ]
        self._files.insert_many(docs, session=session)

    def part(self, session: ClientSession, parts: Sequence[Part]) -> None:
        """They no longer belong to a file."""
        if parts:
            due = self._clock.now() + READ_MS
            self._leftovers.insert_many([{"_id": part.id, "due": due} for part in parts], session=session)

    def open(self, parts: Sequence[Part]) -> IO[bytes]:
        return io.BufferedReader(_Reader(self._chunks, parts), CHUNK)

    def discard(self, parts: Sequence[Part]) -> None:
        """Remove those that did not become part of a file. If that fails, they are leftovers."""
        try:
            for part in parts:
                self._remove(part.id)
        except PyMongoError as error:
            log.warning("leftovers of a file stay for now: %s", error, extra={"action": "file_leftovers"})

    def sweep(self) -> None:
        """Remove leftovers that are due: some of them, and once a minute in this process. Raises nothing."""
        now = self._clock.now()
        if now < self._sweep_at or not self._sweeping.acquire(blocking=False):
            return
        try:
            found = list(self._leftovers.find({"due": {"$lte": now}}, {"_id": 1}, limit=_SWEEP_PIECE))
            for doc in found:
                self._remove(doc["_id"])
            if len(found) < _SWEEP_PIECE:
                self._sweep_at = now + _SWEEP_MS
        except (PyMongoError, HeadraceError) as error:
            log.warning("leftovers of files stay for now: %s", error, extra={"action": "file_leftovers"})
        finally:
            self._sweeping.release()

    def _remove(self, id: str) -> None:
        if not self._leftovers.update_one({"_id": id}, {"$set": {"dying": True}}).matched_count:
            return  # it has become part of a file; the others cannot any more
        self._chunks.delete_many({"files_id": id})
        self._files.delete_one({"_id": id})
        self._leftovers.delete_one({"_id": id})


def _batches(content: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Chunks, some at a time; only the last one of all is shorter."""
    buffer, chunks = bytearray(), []
    for piece in content:
        buffer += piece
        while len(buffer) >= CHUNK:
            chunks.append(bytes(buffer[:CHUNK]))
            del buffer[:CHUNK]
            if len(chunks) == _TOGETHER:
                yield chunks
                chunks = []
    if buffer:
        chunks.append(bytes(buffer))
    if chunks:
        yield chunks


class _Reader(io.RawIOBase):
    """The parts one after the other, for reading and seeking. Not for several threads at a time."""

    def __init__(self, chunks: Collection[Doc], parts: Sequence[Part]) -> None:
        self._chunks = chunks
        self._parts = parts
        self._length = sum(part.length for part in parts)
        self._position = 0
        self._ahead: dict[tuple[str, int], bytes] = {}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Raises Unavailable."""
        view = memoryview(buffer).cast("B")
        start = 0
        for part in self._parts:
            if start <= self._position < start + part.length:
                offset = self._position - start
                chunk = self._chunk(part, offset // CHUNK)
                found = chunk[offset % CHUNK :][: len(view)]
                view[: len(found)] = found
                self._position += len(found)
                return len(found)
            start += part.length
        return 0

    def _chunk(self, part: Part, number: int) -> bytes:
        if (part.id, number) not in self._ahead:
            wanted = {"files_id": part.id, "n": {"$gte": number}}
            with translated("file storage"):
                found = self._chunks.find(wanted, sort=[("n", 1)], limit=_TOGETHER)
                self._ahead = {(part.id, doc["n"]): doc["data"] for doc in found}
        try:
            return self._ahead[part.id, number]
        except KeyError:
            raise Unavailable("the content of the file is gone: it was replaced long ago", code=STORAGE) from None

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}[whence]
        self._position = max(origin + offset, 0)
        return self._position

    def tell(self) -> int:
        return self._position
