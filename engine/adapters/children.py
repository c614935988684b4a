"""Child processes for heavy or hostile work: few, made when needed, killed when they go too far.

A piece of work is a function at the top of a module, called with JSON or bytes and giving JSON or
bytes. Each child is a fresh interpreter (`engine.child`), never a fork of this process and its
threads. One thread of this module starts all children: the system ends a child when the *thread*
that started it ends, and that must not be one of the step threads, which come and go.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import orjson

from engine.child import HEAD, MIB, READY, frame, packed, read_exactly, unpacked
from engine.errors import HeadraceError, StepError, Unavailable

log = logging.getLogger(__name__)

START_SECONDS = 30.0
IDLE_SECONDS = 60.0
KEPT_BYTES = 40 * MIB
"""A child that holds more after its work is not kept."""
LARGEST = 64 * MIB
"""Bytes a result may have; larger ones are left in a file."""


class ProcessChildren:
    """`ports.Children`; at most `count` of them at a time, the rest of the work waits for one."""

    def __init__(self, count: int, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._count = count
        self._idle_seconds = idle_seconds
        self._changed = threading.Condition()
        self._idle: list[_Child] = []
        self._alive: set[_Child] = set()
        self._wanted: deque[Future[_Child]] = deque()
        self._taken = 0
        self._waiting: deque[object] = deque()
        self._closed = False
        self._keeper: threading.Thread | None = None

    def run(self, work: Callable[[Any], Any], payload: Any, *, seconds: float, megabytes: int) -> Any:
        task = f"{work.__module__}:{work.__qualname__}"
        if "<" in task or "." in work.__qualname__:
            raise TypeError(f"{task} cannot be found by its name: heavy work must be a function at the top of a module")
        try:
            is_bytes, body = packed(payload)
        except TypeError as error:
            raise StepError(f"{task}: its input is neither bytes nor JSON: {error}", code="NOT_JSON") from error
        package = getattr(sys.modules.get(task.partition(".")[0]), "__path__", ())
        head = {
            "task": task, "package": list(package), "seconds": seconds, "megabytes": megabytes, "bytes": is_bytes,
        }  # fmt: skip
        child = self._take()
        fit = False
        try:
            answer, result = child.ask(frame(head, body), seconds)
            fit = answer["memory"] <= KEPT_BYTES and "error" not in answer
        except (EOFError, OSError) as error:
            if self._closed:
                raise Unavailable("the server is stopping") from error
            raise _failure(task, child, error, seconds) from error
        finally:
            self._give_back(child, fit=fit)
        if "error" in answer:
            raise _raised(task, answer["error"], megabytes)
        return unpacked(answer["bytes"], result)

    # -- the pool

    def _take(self) -> _Child:
        """A child for one piece of work; those who wait get theirs in the order they came."""
        me = object()
        with self._changed:
            self._waiting.append(me)
            try:
                self._changed.wait_for(
                    lambda: self._closed or (self._taken < self._count and self._waiting[0] is me),
                )
            finally:
                self._waiting.remove(me)
                self._changed.notify_all()
            if self._closed:
                raise Unavailable("the server is stopping")
            self._taken += 1
            while self._idle:
                if (child := self._idle.pop()).lives:
                    return child
                child.kill()
                self._alive.discard(child)
            made: Future[_Child] = Future()
            self._wanted.append(made)
            if self._keeper is None:
                self._keeper = threading.Thread(target=self._keep, name="children", daemon=True)
                self._keeper.start()
            self._changed.notify_all()
        try:
            return made.result()
        except BaseException:
            self._release()
            raise

    def _give_back(self, child: _Child, *, fit: bool) -> None:
        if not fit:
            child.kill()
        with self._changed:
            if fit and not self._closed:
                child.idle_since = time.monotonic()
                self._idle.append(child)
            else:
                self._alive.discard(child)
        self._release()

    def _release(self) -> None:
        with self._changed:
            self._taken -= 1
            self._changed.notify_all()

    def _keep(self) -> None:
        """Starts children, and ends those that nobody has needed for a while."""
        with self._changed:
            while not self._closed:
                while self._wanted:
                    self._start(self._wanted.popleft())
                now = time.monotonic()
                spent = [c for c in self._idle if now - c.idle_since >= self._idle_seconds]
                for child in spent:
                    self._idle.remove(child)
                    self._alive.discard(child)
                    child.kill()
                oldest = min((c.idle_since for c in self._idle), default=None)
                self._changed.wait(None if oldest is None else oldest + self._idle_seconds - now)
            for made in self._wanted:
                made.set_exception(Unavailable("the server is stopping"))

    def _start(self, made: Future[_Child]) -> None:
        try:
            child = _Child()
        except OSError as error:
            log.error("no child process could be started: %s", error, extra={"action": "child_failed"})  # noqa: TRY400
            failure = Unavailable(f"no child process could be started: {error.strerror}")
            failure.__cause__ = error
            made.set_exception(failure)
        else:
            self._alive.add(child)
            made.set_result(child)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            left, self._alive, self._idle = self._alive, set(), []
            self._changed.notify_all()
        for child in left:
            child.kill()
        if self._keeper is not None:
            self._keeper.join()


class _Child:
    """One process and the socket to it; used by one thread at a time. `why` says why we killed it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603 - no part is anybody's input
                [sys.executable, "-P", "-m", "engine.child", str(os.getpid())],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},  # and none of our secrets
                start_new_session=True,  # Ctrl-C is for the server, which lets running work end
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._socket = ours
        self.ready = False
        self._ending = threading.Lock()
        self.idle_since = 0.0

    def ask(self, request: bytes, seconds: float) -> tuple[dict[str, Any], bytearray]:
        """Raises TimeoutError, and EOFError or another OSError when the child died."""
        if not self.ready:
            read_exactly(self._socket, len(READY), time.monotonic() + START_SECONDS)
            self.ready = True
        deadline = time.monotonic() + seconds
        self._socket.settimeout(seconds)
        self._socket.sendall(request)
        sizes = HEAD.unpack(read_exactly(self._socket, HEAD.size, deadline))
        head: dict[str, Any] = orjson.loads(read_exactly(self._socket, sizes[0], deadline))
        if sizes[1] > LARGEST:
            raise _TooLarge
        return head, read_exactly(self._socket, sizes[1], deadline)

    @property
    def lives(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        with self._ending:
            if self.lives:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
            self._socket.close()

    def exit_code(self) -> int:
        """Negative for a signal; of a child that has closed its socket, which it does a moment before it is gone."""
        return self._process.wait(START_SECONDS)


class _TooLarge(OSError):
    """The result is over LARGEST."""


def _failure(task: str, child: _Child, error: Exception, seconds: float) -> HeadraceError:
    """Why there is no answer. Work is a function of its input: what it did once it will do again."""
    if isinstance(error, _TooLarge):
        text = f"{task} gave more than {LARGEST // MIB} MiB: leave large results in a file"
        return StepError(text, code="CHILD_RESULT", retryable=False)
    if not child.ready:
        return Unavailable(f"a child process did not start: {type(error).__name__}")
    if isinstance(error, TimeoutError) or (code := child.exit_code()) == -signal.SIGXCPU:
        return StepError(f"{task} took longer than {seconds:g} seconds", code="CHILD_TIMEOUT", retryable=False)
    if code == -signal.SIGKILL:
        text = f"the process of {task} was killed from outside, as the system does when memory runs out"
        return StepError(text, code="CHILD_DIED", retryable=True)
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return StepError(f"{task} ended its process ({how})", code="CHILD_DIED", retryable=False)


def _raised(task: str, error: dict[str, Any], megabytes: int) -> StepError:
    if error["kind"] == "memory":
        return StepError(f"{task} needs more than {megabytes} MB of memory", code="CHILD_MEMORY", retryable=False)
    if error["kind"] == "step":
        return StepError(
            error["message"], code=error["code"], retryable=error["retryable"], details=error["details"]
        )  # fmt: skip
    return StepError(f"{task} failed: {error['message']}", code=error["code"], retryable=False)
