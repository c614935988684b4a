"""Files of a user: uploads in parts, listing, deletion (rest-api.md §6; engine.md §5, "Files").

A file belongs to `metadata.userId`; what belongs to somebody else does not exist here. While an
upload is going on, `metadata.upload` says what has come, and the file is not shown in lists.
"""

from __future__ import annotations

import hashlib
import mimetypes
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import IO, Any

from engine.errors import BadRequest, Conflict, NotFound, TooLarge
from engine.model.file import FileRecord
from engine.model.message import new_id
from engine.model.times import iso
from engine.ports import Cache, Doc, Files, Query, Where

MAX_NAME = 255
MAX_PART = 64 * 1024 * 1024
MAX_PARTS = 10_000
LOCK_SECONDS = 120.0
UNKNOWN_TYPE = "application/octet-stream"
MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(;[ -~]*)?", re.ASCII)
ALL = Query()


@dataclass(frozen=True, slots=True)
class Part:
    """One request of an upload: part `number` (from 1) of `total`, `size` bytes long as its sender says."""

    name: str
    number: int
    total: int
    size: int | None
    content_type: str | None
    file_id: str | None


class FileService:
    def __init__(self, *, files: Files, cache: Cache) -> None:
        self._files = files
        self._cache = cache

    # -- uploads

    def upload(self, user_id: str, part: Part, content: IO[bytes]) -> FileRecord:
        """Store one part. → the file as far as it has come.

        The first part begins a file, later ones name it by `file_id`. A part that came already
        changes nothing. Raises BadRequest for a part out of order or of another size than announced,
        TooLarge, NotFound (file_id), Conflict (two parts at the same time).
        """
        length = _length(content)
        if part.size is not None and part.size != length:
            raise BadRequest(
                f"uploader-chunk-size says {part.size} bytes, but the part has {length}; "
                "it must be the size of this part"
            )
        if not 1 <= part.number <= part.total <= MAX_PARTS:
            raise BadRequest(
                f"part {part.number} of {part.total}: parts are numbered from 1, and there are at most {MAX_PARTS}"
            )
        if part.file_id is None:
            return self._begin(user_id, part, content)
        return self._exclusive(part.file_id, lambda: self._continue(user_id, part, content, length))

    def _begin(self, user_id: str, part: Part, content: IO[bytes]) -> FileRecord:
        if part.number != 1:
            raise BadRequest(f"part {part.number} of {part.total} needs the header uploader-file-id of the first part")
        metadata: Doc = {"userId": user_id}
        if part.total > 1:
            metadata["upload"] = {"total": part.total, "length": _length(content), "parts": [_digest(content)]}
        name = _safe_name(part.name)
        return _shown(self._files.save(name, content, content_type=_type(name, part.content_type), metadata=metadata))

    def _continue(self, user_id: str, part: Part, content: IO[bytes], length: int) -> FileRecord:
        file_id = part.file_id or ""
        record = self._owned(user_id, file_id)
        upload = record.metadata.get("upload")
        if upload is None:
            raise BadRequest(f"the upload of {record.filename!r} is complete; begin a new one without uploader-file-id")
        parts = upload["parts"]
        if part.total != upload["total"]:
            raise BadRequest(f"this upload was announced with {upload['total']} parts, not {part.total}")
        if part.number > len(parts) + 1:
            raise BadRequest(f"part {part.number} came too early: part {len(parts) + 1} is next")
        if part.number <= len(parts):
            if _digest(content) != parts[part.number - 1]:
                raise BadRequest(f"part {part.number} came before with other content")
            return _shown(record)
        if record.length != upload["length"]:
            raise BadRequest(f"the upload of {record.filename!r} was interrupted; begin it again")
        if length > MAX_PART:
            raise TooLarge(f"a part has {length} bytes; send parts of at most {MAX_PART}")
        record = self._files.append(file_id, content.read())
        progress = {**upload, "length": record.length, "parts": [*parts, _digest(content)]}
        changes = {"upload": progress if part.number < part.total else None}
        return _shown(self._files.update_metadata(file_id, changes))

    def _exclusive(self, file_id: str, work: Callable[[], FileRecord]) -> FileRecord:
        name, owner = f"upload:{file_id}", new_id()
        if not self._cache.lock(name, owner, LOCK_SECONDS):
            raise Conflict("another part of this file is being stored; send the parts one after the other")
        try:
            return work()
        finally:
            self._cache.unlock(name, owner)

    # -- files that come by webhook

    def receive(
        self, user_id: str, flow_id: str, name: str, content_type: str, content: IO[bytes], file_id: str
    ) -> FileRecord:
        """Keep what a caller of a flow has sent as its owner's file. Raises TooLarge, Unavailable."""
        try:
            safe = _safe_name(name)
        except BadRequest:
            safe = "file"
        metadata = {"userId": user_id, "originFlowId": flow_id}
        kind = _type(safe, content_type)
        return self._files.save(safe, content, content_type=kind, metadata=metadata, file_id=file_id)

    def discard(self, file_id: str) -> None:
        self._files.delete(file_id)

    # -- reading and deleting

    def info(self, user_id: str, file_id: str) -> FileRecord:
        """Raises NotFound."""
        return _shown(self._owned(user_id, file_id))

    def open(self, user_id: str, file_id: str) -> tuple[FileRecord, IO[bytes]]:
        """The record and its content. Raises NotFound."""
        record = self._owned(user_id, file_id)
        return _shown(record), self._files.open(file_id)

    def find(self, user_id: str, query: Query = ALL) -> list[FileRecord]:
        """The user's finished files; newest first unless `query` says otherwise."""
        query = replace(_own(user_id, query), sort=query.sort or (("uploadDate", -1),))
        return [_shown(record) for record in self._files.find(query)]

    def count(self, user_id: str, query: Query = ALL) -> int:
        return self._files.count(_own(user_id, query))

    def delete(self, user_id: str, file_id: str) -> None:
        """Raises NotFound."""
        self._owned(user_id, file_id)
        self._files.delete(file_id)

    def delete_many(self, user_id: str, query: Query = ALL) -> int:
        """All of the user's files that match. → how many."""
        matching = self._files.find(replace(_own(user_id, query), limit=None, offset=0))
        return sum(self._files.delete(record.file_id) for record in matching)

    def _owned(self, user_id: str, file_id: str) -> FileRecord:
        missing = NotFound(f"there is no file {file_id!r}")
        try:
            record = self._files.info(file_id)
        except NotFound as error:
            raise missing from error
        if record.metadata.get("userId") != user_id:
            raise missing
        return record


def _own(user_id: str, query: Query) -> Query:
    own = (Where("metadata.userId", "eq", user_id), Where("metadata.upload", "exists", False))
    return replace(query, where=(*own, *map(_as_recorded, query.where)), include=(), exclude=())


def _as_recorded(condition: Where) -> Where:
    """The record of a file tells its time as ISO text, whose order is that of time."""
    if condition.path != "uploadDate" or not isinstance(condition.value, int):
        return condition
    try:
        return replace(condition, value=iso(condition.value))
    except (ValueError, OverflowError, OSError) as error:
        raise BadRequest(f"uploadDate: {condition.value} is not a time in epoch milliseconds") from error


def _shown(record: FileRecord) -> FileRecord:
    """Without the bookkeeping of an upload."""
    return replace(record, metadata={key: value for key, value in record.metadata.items() if key != "upload"})


def _length(content: IO[bytes]) -> int:
    length = content.seek(0, 2)
    content.seek(0)
    return length


def _digest(content: IO[bytes]) -> str:
    content.seek(0)
    digest = hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]  # any binary file will do
    content.seek(0)
    return digest


def _safe_name(name: Any) -> str:
    """The last part of a path, without control characters."""
    text = re.sub(r"[\x00-\x1f\x7f]", "", str(name)).replace("\\", "/").rstrip("/").rpartition("/")[2].strip()
    if text in ("", ".", ".."):
        raise BadRequest(f"{name!r} is not a file name")
    return text[:MAX_NAME]


def media_type(text: str | None) -> str:
    """A type as it may stand in a header; steps keep files under whatever type they were told."""
    return text if text and MEDIA_TYPE.fullmatch(text) else UNKNOWN_TYPE


def _type(name: str, given: str | None) -> str:
    """The type as sent when it says something, else by the name's ending."""
    sent = media_type(given)
    return sent if sent != UNKNOWN_TYPE else mimetypes.guess_type(name)[0] or UNKNOWN_TYPE
