"""Blobs with a record each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any, Protocol

from engine.model.file import FileRecord
from engine.ports.storage import Query, Where


class Files(Protocol):
    """Blobs. Writing replaces as a whole: readers see the old content or the new, never a mixture.

    An `op_id` that was applied to the file in the last hour changes nothing: the new content is not read, and
    the record is returned as it stands, whatever `expect` says (design.md §4.6). `expect` is the `md5` of the
    content the caller has worked from; raises Conflict when the file has another by now.
    """

    def save(
        self,
        filename: str,
        content: bytes | IO[bytes] | Iterable[bytes],
        *,
        content_type: str,
        metadata: Mapping[str, Any],
        file_id: str | None = None,
        created: int | None = None,
        op_id: str | None = None,
    ) -> FileRecord:
        """A known `file_id` is replaced, content and record. `created` is in epoch milliseconds.

        Raises BadRequest for an id with other characters than letters, digits, "-" and "_",
        TooLarge, and what reading `content` raises; the old content then stays.
        """

    def append(
        self, file_id: str, content: bytes, *, op_id: str | None = None, expect: str | None = None
    ) -> FileRecord: ...
    def replace(
        self,
        file_id: str,
        content: bytes | IO[bytes] | Iterable[bytes],
        *,
        op_id: str | None = None,
        expect: str | None = None,
    ) -> FileRecord: ...
    def update_metadata(self, file_id: str, metadata: Mapping[str, Any]) -> FileRecord:
        """Set the given keys; None removes one."""

    def info(self, file_id: str) -> FileRecord:
        """Raises NotFound."""

    def open(self, file_id: str) -> IO[bytes]:
        """Can seek; keeps what it opened when the file is replaced, appended to or deleted. Raises NotFound."""

    def delete(self, file_id: str) -> bool: ...
    def find(self, query: Query) -> list[FileRecord]:
        """Paths are those of the JSON record: `filename`, `metadata.userId` …, and `used`."""

    def count(self, query: Query) -> int: ...
    def total_bytes(self, where: Sequence[Where] = ()) -> int: ...
