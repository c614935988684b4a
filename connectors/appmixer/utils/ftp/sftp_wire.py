"""The SSH File Transfer Protocol, version 3: packets, requests in flight, answers.

Every server speaks this version. A packet is its length, a type, the request's id and the
request's fields; texts and bytes carry their length.
"""

from __future__ import annotations

import os
import select
import struct
from dataclasses import dataclass
from typing import IO

from connectors.appmixer.utils.ftp.ssh import Channel
from engine.sdk import StepError

ANSWER_SECONDS = 60.0
LARGEST_PACKET = 1024 * 1024

INIT, VERSION = 1, 2
OPEN, CLOSE, READ, WRITE, LSTAT, OPENDIR, READDIR = 3, 4, 5, 6, 7, 11, 12
REMOVE, MKDIR, RMDIR, STAT, RENAME = 13, 14, 15, 17, 18
STATUS, HANDLE, DATA, NAME, ATTRS = 101, 102, 103, 104, 105
OK, END = 0, 1
_CODES = {2: "ENOENT", 3: "EACCES", 6: "ECONNRESET", 7: "ECONNRESET", 8: "EOPNOTSUPP"}


@dataclass(frozen=True, slots=True)
class Attributes:
    """Times are seconds; `mode` is the Unix one, with the kind of the file."""

    size: int = 0
    uid: int = 0
    gid: int = 0
    mode: int = 0
    accessed: int = 0
    modified: int = 0


class Fields:
    """Reads a packet from front to back."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self) -> int:
        return int.from_bytes(self.take(4))

    def blob(self) -> bytes:
        return self.take(self.number())

    def text(self) -> str:
        return self.blob().decode("utf-8", "replace")

    def take(self, size: int) -> bytes:
        self._at += size
        if self._at > len(self._data):
            raise StepError("the SFTP server sent a packet that is cut short", code="EPROTO", retryable=False)
        return self._data[self._at - size : self._at]

    def attributes(self) -> Attributes:
        flags = self.number()
        size = int.from_bytes(self.take(8)) if flags & 1 else 0
        uid, gid = (self.number(), self.number()) if flags & 2 else (0, 0)
        mode = self.number() if flags & 4 else 0
        accessed, modified = (self.number(), self.number()) if flags & 8 else (0, 0)
        for _ in range(2 * self.number() if flags & 0x80000000 else 0):
            self.blob()
        return Attributes(size, uid, gid, mode, accessed, modified)


def number(value: int) -> bytes:
    return struct.pack(">I", value)


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return number(len(data)) + data


class Wire:
    """Requests may be sent ahead of their answers; `ask` waits for its own."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._last = 0
        self._early: dict[int, tuple[int, Fields]] = {}
        self._write(bytes([INIT]) + number(3))
        if self._packet()[:1] != bytes([VERSION]):
            raise StepError(f"{channel.host} does not speak SFTP", code="EPROTO", retryable=False)

    def send(self, kind: int, *fields: bytes) -> int:
        """→ the request's id."""
        self._last += 1
        self._write(bytes([kind]) + number(self._last) + b"".join(fields))
        return self._last

    def answer(self, request: int, about: str) -> tuple[int, Fields] | None:
        """The kind of the answer and its fields; None at the end of a file or folder, or for a plain "ok".

        Raises StepError with the server's words about `about`.
        """
        while request not in self._early:
            packet = self._packet()
            fields = Fields(packet[1:])
            self._early[fields.number()] = (packet[0], fields)
        kind, fields = self._early.pop(request)
        if kind != STATUS:
            return kind, fields
        status = fields.number()
        if status in (OK, END):
            return None
        raise _refused(f"{self._channel.host}: {about}: {fields.text() or f'error {status}'}", _CODES.get(status))

    def ask(self, about: str, kind: int, *fields: bytes) -> Fields | None:
        found = self.answer(self.send(kind, *fields), about)
        return found[1] if found else None

    def must(self, about: str, kind: int, *fields: bytes) -> Fields:
        """As `ask`, for requests whose answer holds something."""
        if (found := self.ask(about, kind, *fields)) is None:
            raise StepError(f"{self._channel.host}: {about}: empty answer", code="EPROTO", retryable=False)
        return found

    def _write(self, packet: bytes) -> None:
        rest = memoryview(number(len(packet)) + packet)
        target = _pipe(self._channel.process.stdin).fileno()
        try:
            while rest:
                rest = rest[os.write(target, rest) :]
        except BrokenPipeError:
            raise self._channel.failure() from None

    def _packet(self) -> bytes:
        size = int.from_bytes(self._read(4))
        if not 0 < size <= LARGEST_PACKET:
            raise StepError(f"{self._channel.host} sent what is no SFTP", code="EPROTO", retryable=False)
        return self._read(size)

    def _read(self, size: int) -> bytes:
        source = _pipe(self._channel.process.stdout).fileno()
        data = bytearray()
        while len(data) < size:
            if not select.select([source], [], [], ANSWER_SECONDS)[0]:
                raise StepError(
                    f"{self._channel.host} did not answer in {ANSWER_SECONDS:.0f} seconds", code="ETIMEDOUT"
                )
            chunk = os.read(source, size - len(data))
            if not chunk:
                raise self._channel.failure()
            data += chunk
        return bytes(data)


def _pipe(end: IO[bytes] | None) -> IO[bytes]:
    assert end is not None
    return end


def _refused(message: str, code: str | None) -> StepError:
    """A plain "failure" is nearly always for good: a target that exists, a folder that is not empty."""
    lost = code == "ECONNRESET"
    return StepError(message, code=code or "SFTP_FAILURE", retryable=None if lost else False)
