"""What every adapter of Files has in common: records, checks, contents as pieces, running digests."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from threading import Lock
from typing import IO, Any, NamedTuple

from engine.errors import BadRequest, Conflict, NotFound, TooLarge
from engine.model.file import FileRecord
from engine.model.message import new_id
from engine.model.times import from_iso
from engine.ports import Doc

Content = bytes | IO[bytes] | Iterable[bytes]

PIECE = 256 * 1024
USED_EXACT = 86_400_000
"""Milliseconds within which a further opening of a file is not recorded."""

INDEXES = (("metadata.userId", "filename"), ("filename",), ("used",))
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
_DIGESTS = 256


class Written(NamedTuple):
    """What was written: its size in bytes, and the running MD5 that an append may go on with."""

    length: int
    digest: Any


class Digests:
    """Running MD5s of contents written lately, so that an append need not read the file again."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: OrderedDict[str, Written] = OrderedDict()

    def put(self, name: str, written: Written) -> None:
        with self._lock:
            self._kept[name] = written
            if len(self._kept) > _DIGESTS:
                self._kept.popitem(last=False)

    def take(self, name: str, length: int) -> Any:
        """The digest after `length` bytes, or None. It is handed over: the caller goes on with it."""
        with self._lock:
            written = self._kept.pop(name, None)
        return written.digest if written is not None and written.length == length else None


def made(
    file_id: str | None, filename: str, content_type: str, metadata: Mapping[str, Any], created: int | None, now: int
) -> FileRecord:
    """The record of a file about to be written: its size and digest are not known yet."""
    key = new_id(now) if file_id is None else checked_id(file_id)
    return FileRecord(key, filename, content_type, 0, "", now if created is None else created, dict(metadata), used=now)


def renewed(old: FileRecord | None, file_id: str, expect: str | None, now: int) -> FileRecord:
    """The record of a file whose content is being replaced. Raises NotFound, Conflict."""
    if old is None:
        raise NotFound(f"file {file_id} was deleted meanwhile")
    check_unchanged(old, expect)
    return replace(old, upload_date=now, used=now)


def checked_id(file_id: str) -> str:
    if not _ID.fullmatch(file_id):
        raise BadRequest(f"file id {file_id!r}: use 1 to 128 letters, digits, hyphens and underscores")
    return file_id


def check_unchanged(record: FileRecord, expect: str | None) -> None:
    if expect is not None and record.md5 != expect:
        raise Conflict(f"file {record.file_id} was changed by somebody else meanwhile: read it again")


def check_size(length: int, limit: int) -> None:
    if length > limit:
        raise TooLarge(f"a file may have {limit} bytes at most (HEADRACE_FILE_BYTES)")


def owner(file_id: str) -> str:
    """Of the operations that change the file."""
    return f"file:{file_id}"


def to_doc(record: FileRecord) -> Doc:
    return {**record.to_json(), "used": record.used}


def from_doc(doc: Doc) -> FileRecord:
    metadata = {key: value for key, value in doc["metadata"].items() if key != "fileId"}
    return FileRecord(
        file_id=doc["fileId"],
        filename=doc["filename"],
        content_type=doc["contentType"],
        length=doc["length"],
        md5=doc["md5"],
        upload_date=from_iso(doc["uploadDate"]),
        metadata=metadata,
        chunk_size=doc["chunkSize"],
        used=doc["used"],
    )


def pieces(content: Content) -> Iterator[bytes]:
    """Raises BadRequest for text, and what reading `content` raises."""
    if isinstance(content, bytes | bytearray | memoryview):
        yield bytes(content)
        return
    read = getattr(content, "read", None)
    parts: Iterable[Any] = content if read is None else iter(lambda: read(PIECE), b"")
    for part in parts:
        if not isinstance(part, bytes | bytearray | memoryview):
            raise BadRequest(f"the content of a file must be bytes, not {type(part).__name__}: encode it first")
        yield bytes(part)
