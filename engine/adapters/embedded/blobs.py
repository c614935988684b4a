"""A folder of contents: written whole and durably, or not at all. Used by files.py."""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from engine.adapters.file_records import Content, Written, check_size, pieces
from engine.errors import Unavailable

CHUNK = 256 * 1024
_MEANINGS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "the folder may not be written",
    errno.EMFILE: "too many files are open",
}


class BlobFolder:
    """Names are chosen by the caller, `<id>.<generation>`, from letters, digits, "-" and "_"."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"
        self._max_bytes = max_bytes
        with _disk_errors():
            self._incoming.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """Spread by the id's last two characters: its first ones are a time and hardly differ."""
        return self._folder / name.partition(".")[0][-2:].rjust(2, "_") / name

    def write(self, name: str, content: Content) -> Written:
        """Durable when it returns. Raises TooLarge, Unavailable, and what reading `content` raises."""
        target, temporary = self.path(name), self._incoming / uuid4().hex
        try:
            with _disk_errors():
                file = temporary.open("wb")
            with file:
                written = self._copy(content, file)
                with _disk_errors():
                    file.flush()
                    os.fsync(file.fileno())
            with _disk_errors():
                target.parent.mkdir(exist_ok=True)
                temporary.replace(target)
                _sync_folder(target.parent)
                _sync_folder(self._folder)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return written

    def _copy(self, content: Content, file: IO[bytes]) -> Written:
        length, digest = 0, hashlib.md5(usedforsecurity=False)
        for chunk in pieces(content):
            length += len(chunk)
            check_size(length, self._max_bytes)
            digest.update(chunk)
            with _disk_errors():
                file.write(chunk)
        return Written(length, digest)

    def extend(self, name: str, length: int, content: bytes) -> None:
        """Write `content` after the first `length` bytes; what a crash left beyond them is cut off."""
        with _disk_errors(), self.path(name).open("r+b") as file:
            file.truncate(length)
            file.seek(length)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def open(self, name: str, length: int) -> IO[bytes]:
        """The first `length` bytes, for reading and seeking. Raises FileNotFoundError."""
        with _disk_errors():
            return io.BufferedReader(_Head(self.path(name).open("rb", buffering=0), length), CHUNK)

    def remove(self, name: str) -> None:
        with _disk_errors():
            self.path(name).unlink(missing_ok=True)

    def sweep(self, known: set[str]) -> int:
        """Remove what a crash left: unfinished writes and contents not in `known`."""
        removed = 0
        with _disk_errors():
            for path in self._folder.glob("*/*"):
                if path.parent == self._incoming or path.name not in known:
                    path.unlink()
                    removed += 1
        return removed


class _Head(io.RawIOBase):
    """The first `length` bytes of an open file: an append beyond them stays out of sight."""

    def __init__(self, file: io.FileIO, length: int) -> None:
        self._file = file
        self._length = length

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = max(self._length - self._file.tell(), 0)
        return self._file.readinto(memoryview(buffer)[:left]) or 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:
            offset, whence = self._length + offset, os.SEEK_SET
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        meaning = _MEANINGS.get(error.errno or 0, error.strerror)
        raise Unavailable(f"file storage: {meaning}", code="STORAGE") from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
