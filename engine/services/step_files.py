"""The files of a step: the part of `sdk.Context` about them.

Whatever a message does to a file has an operation id, so a redelivery does it once (design.md §4.6).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO, TYPE_CHECKING, Any

from engine.errors import NotFound
from engine.model.file import FileRecord
from engine.model.message import Message, derived_id

if TYPE_CHECKING:
    from engine.services.toolbox import Toolbox


class StepFiles:
    """Base of `StepContext`. Files of other users do not exist here."""

    message_id: str
    flow_id: str
    user_id: str
    _tools: Toolbox
    _message: Message
    _again: bool

    def _operation(self, *parts: object) -> str:
        raise NotImplementedError

    def save_file(
        self, filename: str, content: bytes | IO[bytes] | Iterable[bytes], content_type: str | None = None
    ) -> FileRecord:
        operation = self._operation()
        return self._tools.files.save(
            filename,
            content,
            content_type=content_type or "application/octet-stream",
            metadata={"userId": self.user_id, "originFlowId": self.flow_id},
            file_id=derived_id(self.message_id, "file", operation),
            created=self._tools.clock.now(),
            op_id=f"{operation}:{self._message.attempt}",  # another try may well have other content
        )

    def _own_file(self, file_id: str) -> FileRecord:
        return self._owned(self._tools.files.info(file_id))

    def _owned(self, record: FileRecord) -> FileRecord:
        if record.metadata.get("userId") != self.user_id:
            raise NotFound(f"there is no file {record.file_id}", code="ENOENT")
        return record

    def replace_file(
        self, file_id: str, content: bytes | IO[bytes] | Iterable[bytes], *, expect: str | None = None
    ) -> FileRecord:
        self._own_file(file_id)
        return self._tools.files.replace(file_id, content, op_id=self._operation(), expect=expect)

    def append_file(self, file_id: str, content: bytes, *, expect: str | None = None) -> FileRecord:
        self._own_file(file_id)
        return self._tools.files.append(file_id, content, op_id=self._operation(), expect=expect)

    def file_info(self, file_id: str) -> FileRecord:
        return self._own_file(file_id)

    def open_file(self, file_id: str) -> IO[bytes]:
        self._own_file(file_id)
        return self._tools.files.open(file_id)

    def load_file(self, file_id: str) -> bytes:
        with self.open_file(file_id) as stream:
            return stream.read()

    def remove_file(self, file_id: str) -> dict[str, Any]:
        try:
            record = self._tools.files.info(file_id)
        except NotFound:
            if not self._again:
                raise
        else:
            self._owned(record)
            self._tools.files.delete(file_id)
        return {"fileId": file_id}

    def archive_file(self, file_id: str) -> FileRecord:
        record = self._own_file(file_id)
        return self._tools.files.update_metadata(file_id, {**record.metadata, "archived": True})
