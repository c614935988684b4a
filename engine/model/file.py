"""What is known of a stored file besides its content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.model.times import iso


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Metadata of a stored file; `metadata` holds userId and originFlowId (engine.md §5).

    `used` is when it was last written or opened, in epoch ms, to the day; it is not part of the JSON.
    """

    file_id: str
    filename: str
    content_type: str
    length: int
    md5: str
    upload_date: int
    metadata: dict[str, Any]
    chunk_size: int = 261_120
    used: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "fileId": self.file_id,
            "filename": self.filename,
            "contentType": self.content_type,
            "length": self.length,
            "chunkSize": self.chunk_size,
            "md5": self.md5,
            "uploadDate": iso(self.upload_date),
            "metadata": {**self.metadata, "fileId": self.file_id},
        }
