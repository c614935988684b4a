"""Real servers on a bare machine: private ports, a data folder each, no containers.

One module per server has `start(folder, port) -> Server-like object` with `url`, `stop()` and `kill()`.
This is what they share: `spawn` starts a program in a session of its own (so that its children end with
it), `wait_until` waits for it to answer, and a note in the folder lets another program find and stop it.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
POLL = 0.02
"""Seconds between two looks at something that is not there yet."""


class NotStarted(RuntimeError):
    """A server could not be had; the message says what to do."""


class Missing(NotStarted):
    """Its program is not installed: tests are skipped, or fail with CI=true."""


@dataclass(slots=True)
class Process:
    """A started program and everything in its session. `child` is None when another program started it."""

    name: str
    folder: Path
    pid: int
    began: str
    child: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def alive(self) -> bool:
        if self.child is not None:
            return self.child.poll() is None
        return _began(self.pid) == self.began

    def stop(self, seconds: float = 15.0) -> None:
        """Ask it to end, and after `seconds` end it."""
        self._signal(signal.SIGTERM)
        self._wait(seconds)
        self.kill()

    def kill(self) -> None:
        """As a power cut would: nothing is written any more."""
        self._signal(signal.SIGKILL)
        self._wait(10.0)
        _note(self.folder, self.name).unlink(missing_ok=True)

    def _signal(self, number: int) -> None:
        # a child not yet waited for keeps its number, another's is compared: it cannot be somebody else's
        if self.child is not None or self.alive():
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                return

    def _wait(self, seconds: float) -> None:
        limit = time.monotonic() + seconds
        while self.alive() and time.monotonic() < limit:
            time.sleep(POLL)


@dataclass(slots=True)
class Server:
    """A running server of one process."""

    process: Process
    port: int

    def stop(self) -> None:
        self.process.stop()

    def kill(self) -> None:
        """As a power cut would; `start` with the same folder and port goes on from what is on the disk."""
        self.process.kill()


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def find_program(*candidates: str | Path) -> Path:
    """The first that exists, by path or on PATH. Raises Missing."""
    for candidate in candidates:
        found = shutil.which(candidate)
        if found is not None:
            return Path(found)
    raise Missing(f"{' or '.join(map(str, candidates))} is not installed: see docs/operating.md")


def spawn(
    name: str,
    command: Sequence[str | Path],
    folder: Path,
    *,
    env: Mapping[str, str] | None = None,
    die_with_parent: bool = False,
) -> Process:
    """Start `command` with `folder` as its working directory; its output goes to `<folder>/<name>.log`.

    `env` is added to this process's environment. `die_with_parent` kills the program when the calling
    thread ends, however it ends (for tests); only the program itself, not what it starts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    guard = shutil.which("setpriv") if die_with_parent else None
    words = [guard, "--pdeathsig", "KILL", *command] if guard else [*command]
    with (folder / f"{name}.log").open("ab") as output:
        child = subprocess.Popen(  # noqa: S603 – our own command
            [str(word) for word in words],
            cwd=folder,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    process = Process(name, folder, child.pid, _began(child.pid), child)
    _note(folder, name).write_text(f"{process.pid} {process.began}\n")
    return process


def running(name: str, folder: Path) -> Process | None:
    """The process that `spawn` started there, perhaps from another program, if it is still alive."""
    try:
        pid, _, began = _note(folder, name).read_text().strip().partition(" ")
    except FileNotFoundError:
        return None
    process = Process(name, folder, int(pid), began)
    return process if process.alive() else None


def wait_until(ready: Callable[[], bool], process: Process, seconds: float = 60.0) -> None:
    """Ask `ready` until it says True. Raises NotStarted, with the end of the log, and the process is ended.

    `ready` may raise OSError while there is no connection.
    """
    limit = time.monotonic() + seconds
    while process.alive() and time.monotonic() < limit:
        try:
            if ready():
                return
        except OSError:
            pass
        time.sleep(POLL)
    why = f"not ready after {seconds:.0f} s" if process.alive() else "ended"
    process.kill()
    raise NotStarted(f"{process.name}: {why}. The end of {process.log}:\n{_tail(process.log)}")


def listening(port: int) -> bool:
    """Whether somebody accepts connections there."""
    try:
        socket.create_connection((HOST, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _note(folder: Path, name: str) -> Path:
    return folder / f"{name}.pid"


def _began(pid: int) -> str:
    """When a process began, as the kernel counts; "" when it has ended. Numbers are used again, moments are not."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _tail(path: Path, size: int = 2_000) -> str:
    return path.read_bytes()[-size:].decode(errors="replace") if path.exists() else ""
