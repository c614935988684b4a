"""The operations of `remote.Remote` over SFTP."""

from __future__ import annotations

import stat
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import IO, Any

from connectors.appmixer.utils.ftp import sftp_wire as wire
from connectors.appmixer.utils.ftp.account import Login
from connectors.appmixer.utils.ftp.sftp_wire import Attributes, Wire, number, text
from connectors.appmixer.utils.ftp.ssh import Channel, channel
from engine.sdk import StepError

BLOCK = 32 * 1024
WINDOW = 32
"""Blocks on their way at a time: what a distant server needs to be kept busy."""

READING, WRITING = 0x01, 0x1A  # write, create, truncate
KINDS = {stat.S_IFREG: "-", stat.S_IFDIR: "d", stat.S_IFLNK: "l"}


@contextmanager
def sftp_connection(login: Login, address: str, host_key: str) -> Iterator[OverSftp]:
    with channel(login, address, host_key) as opened:
        yield OverSftp(opened)


class OverSftp:
    def __init__(self, opened: Channel) -> None:
        self._channel = opened
        self._wire = Wire(opened)

    def host_key(self) -> str:
        return self._channel.host_key()

    def entries(self, path: str) -> list[dict[str, Any]]:
        handle = self._handle(path, wire.OPENDIR, text(path or "."))
        try:
            found: list[dict[str, Any]] = []
            while (names := self._wire.ask(path, wire.READDIR, handle)) is not None:
                for _ in range(names.number()):
                    name, longname, attributes = names.text(), names.text(), names.attributes()
                    if name not in (".", ".."):
                        found.append(_entry(name, longname, attributes))
            return found
        finally:
            self._wire.ask(path, wire.CLOSE, handle)

    def info(self, path: str) -> dict[str, Any]:
        attributes = self._attributes(path, wire.LSTAT)
        name = PurePosixPath(path).name or path
        return _entry(name, _longname(name, attributes), attributes)

    def download(self, path: str) -> Iterator[bytes]:
        return self._blocks(path, self._handle(path, wire.OPEN, text(path), number(READING), number(0)))

    def upload(self, path: str, file: IO[bytes]) -> None:
        handle = self._handle(path, wire.OPEN, text(path), number(WRITING), number(0))
        pending: deque[int] = deque()
        offset = 0
        while block := file.read(BLOCK):
            pending.append(self._wire.send(wire.WRITE, handle, offset.to_bytes(8), text(block)))
            offset += len(block)
            if len(pending) == WINDOW:
                self._wire.answer(pending.popleft(), path)
        for request in pending:
            self._wire.answer(request, path)
        self._wire.ask(path, wire.CLOSE, handle)

    def rename(self, path: str, new_path: str) -> None:
        self._wire.ask(f"{path} to {new_path}", wire.RENAME, text(path), text(new_path))

    def remove(self, path: str) -> None:
        self._wire.ask(path, wire.REMOVE, text(path))

    def remove_tree(self, path: str) -> None:
        for entry in self.entries(path):
            below = f"{path.rstrip('/')}/{entry['name']}"
            if entry["type"] == "d":
                self.remove_tree(below)
            else:
                self.remove(below)
        self._wire.ask(path, wire.RMDIR, text(path))

    def make_directories(self, path: str) -> None:
        done = "/" if path.startswith("/") else ""
        for part in filter(None, path.split("/")):
            done += part
            try:
                attributes = self._attributes(done, wire.STAT)
            except StepError as error:
                if error.code != "ENOENT":
                    raise
                self._wire.ask(done, wire.MKDIR, text(done), number(0))
            else:
                if not stat.S_ISDIR(attributes.mode):
                    raise StepError(f"{done} is there already and is no folder", code="EEXIST", retryable=False)
            done += "/"

    def _handle(self, path: str, kind: int, *fields: bytes) -> bytes:
        """An open file or folder, as a field of the requests that use it."""
        return text(self._wire.must(path or ".", kind, *fields).blob())

    def _attributes(self, path: str, kind: int) -> Attributes:
        return self._wire.must(path, kind, text(path)).attributes()

    def _blocks(self, path: str, handle: bytes) -> Iterator[bytes]:
        """Reads run ahead, more of them the longer the file turns out to be; a short block is completed first."""
        pending: deque[tuple[int, int]] = deque()
        offset, ahead, ended = 0, 1, False
        while pending or not ended:
            while not ended and len(pending) < ahead:
                pending.append((self._ask_block(handle, offset, BLOCK), offset))
                offset += BLOCK
            request, at = pending.popleft()
            block = self._block(request, path)
            while block and len(block) < BLOCK:
                more = self._block(self._ask_block(handle, at + len(block), BLOCK - len(block)), path)
                if not more:
                    ended = True
                    break
                block += more
            ended = ended or not block
            ahead = min(WINDOW, ahead * 2)
            if block:
                yield block
        self._wire.ask(path, wire.CLOSE, handle)

    def _ask_block(self, handle: bytes, offset: int, size: int) -> int:
        return self._wire.send(wire.READ, handle, offset.to_bytes(8), number(size))

    def _block(self, request: int, path: str) -> bytes:
        answer = self._wire.answer(request, path)
        return answer[1].blob() if answer else b""


def _entry(name: str, longname: str, attributes: Attributes) -> dict[str, Any]:
    """{type, name, size, modifyTime, accessTime (ms), rights {user, group, other}, owner, group, longname}."""
    marks = stat.filemode(attributes.mode)
    rights = {who: marks[at : at + 3].replace("-", "") for who, at in (("user", 1), ("group", 4), ("other", 7))}
    return {
        "type": KINDS.get(stat.S_IFMT(attributes.mode), marks[0]),
        "name": name,
        "size": attributes.size,
        "modifyTime": attributes.modified * 1000,
        "accessTime": attributes.accessed * 1000,
        "rights": rights,
        "owner": attributes.uid,
        "group": attributes.gid,
        "longname": longname,
    }


def _longname(name: str, attributes: Attributes) -> str:
    """What `ls -l` would show."""
    date = datetime.fromtimestamp(attributes.modified, UTC).strftime("%b %d %Y")
    return f"{stat.filemode(attributes.mode)} 1 {attributes.uid} {attributes.gid} {attributes.size} {date} {name}"
