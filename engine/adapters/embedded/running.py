"""Which messages are being executed right now, in a file that outlives the process.

The file is mapped into memory: noting a message costs a copy of 64 bytes, no system call, and the
pages stay with the operating system when the process dies, however it dies. When the machine itself
goes down what is left may be old; ids that are no longer in the queue mean nothing to anybody.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from engine.errors import Unavailable

SLOTS = 2_048
SLOT = 64
NONE = -1


class RunningFile:
    """`ports.Claims`. What an earlier process left stays in its slots until `forget`."""

    def __init__(self, path: Path) -> None:
        size = SLOTS * SLOT
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                # with a hole in the file, writing to the map on a full disk would kill the process
                os.posix_fallocate(handle, 0, size)
                self._map = mmap.mmap(handle, size)
            finally:
                os.close(handle)
        except OSError as error:
            raise Unavailable(f"{path.name} cannot be used: {error.strerror}", code="STORAGE") from error
        self._left = {slot: name for slot in range(SLOTS) if (name := self._read(slot))}
        self._free = [slot for slot in range(SLOTS) if slot not in self._left]
        self._closed = False

    def _read(self, slot: int) -> str:
        data = self._map[slot * SLOT : (slot + 1) * SLOT]
        return data[1:].rstrip(b"\0").decode("ascii", "ignore") if data[0] else ""

    def left(self) -> list[str]:
        return list(self._left.values())

    def forget(self) -> None:
        for slot in self._left:
            self._map[slot * SLOT] = 0
            self._free.append(slot)
        self._left = {}

    def begin(self, message_id: str) -> int:
        name = message_id.encode()
        if self._closed or len(name) >= SLOT:
            return NONE
        try:
            slot = self._free.pop()
        except IndexError:
            return NONE
        at = slot * SLOT
        self._map[at : at + SLOT] = b"\1" + name.ljust(SLOT - 1, b"\0")
        return slot

    def end(self, claim: int) -> None:
        if claim != NONE and not self._closed:
            self._map[claim * SLOT] = 0
            self._free.append(claim)

    def close(self) -> None:
        self._closed = True
        self._map[:] = bytes(SLOTS * SLOT)
