"""A process that does one piece of heavy work after another for the serving process, and may be killed.

Started by `engine.adapters.children` as `python -m engine.child PARENT`, a socket as standard input.
Both directions speak frames: `HEAD` (length of the head, length of the body), the head as JSON,
the body as it is. It answers every request; where it cannot, it dies, which is an answer too.
"""

from __future__ import annotations

import ctypes
import importlib
import math
import os
import resource
import signal
import socket
import struct
import sys
import time
import types
from pathlib import Path
from typing import Any

import orjson

from engine.errors import HeadraceError, StepError

HEAD = struct.Struct("!IQ")
READY = b"\1"
MIB = 1024 * 1024

_PR_SET_PDEATHSIG = 1


def read_exactly(stream: socket.socket, size: int, deadline: float | None = None) -> bytearray:
    """`deadline` is in the time of `time.monotonic`. Raises EOFError when the other side is gone, TimeoutError."""
    data = bytearray(size)
    view = memoryview(data)
    while view:
        if deadline is not None:
            stream.settimeout(max(0.001, deadline - time.monotonic()))
        count = stream.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return data


def frame(head: dict[str, Any], body: bytes) -> bytes:
    text = orjson.dumps(head)
    return b"".join((HEAD.pack(len(text), len(body)), text, body))


def packed(value: Any) -> tuple[bool, bytes]:
    """(whether it is bytes, the body). Raises TypeError for what is neither bytes nor JSON."""
    if isinstance(value, bytes | bytearray | memoryview):
        return True, bytes(value)
    return False, orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)


def unpacked(is_bytes: bool, body: bytes | bytearray) -> Any:
    return bytes(body) if is_bytes else orjson.loads(body)


def main() -> None:
    parent = int(sys.argv[1])
    end_with_parent(parent)
    stream = socket.socket(fileno=os.dup(0))
    # what the work prints must not run into the frames
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(2, 1)
    prepare()
    stream.sendall(READY)
    while True:
        try:
            sizes = HEAD.unpack(read_exactly(stream, HEAD.size))
            head = orjson.loads(read_exactly(stream, sizes[0]))
            body = read_exactly(stream, sizes[1])
        except (EOFError, ConnectionError):
            return
        answer, result = perform(head, body)
        del body
        _soft(resource.RLIMIT_AS, resource.RLIM_INFINITY)
        answer["memory"] = _pages(1)
        stream.sendall(frame(answer, result))


def end_with_parent(parent: int) -> None:
    """However the parent ends, this process ends with it, even in the middle of C code."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)  # it was gone before


def prepare() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if len(os.sched_getaffinity(0)) == 1:
        os.sched_setaffinity(0, range(os.cpu_count() or 1))  # the parent may keep to one core, see cli/one_core.py
    try:
        # when memory runs out, the system takes this process and not the server
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:
        pass


def perform(head: dict[str, Any], body: bytes | bytearray) -> tuple[dict[str, Any], bytes]:
    """The head and body of the answer."""
    try:
        work = find(head["task"], head["package"])
        limit(head["seconds"], head["megabytes"])
        is_bytes, result = packed(work(unpacked(head["bytes"], body)))
        return {"bytes": is_bytes}, result
    except MemoryError:
        return {"error": {"kind": "memory"}}, b""
    except HeadraceError as error:
        hint = error.retry_hint if isinstance(error, StepError) else error.retryable
        described = {"kind": "step", "message": error.message, "code": error.code, "retryable": hint}
        return {"error": {**described, "details": error.details}}, b""
    except Exception as error:  # noqa: BLE001 - whatever the work raises belongs to the one who asked for it
        text = f"{type(error).__name__}: {error}"
        return {"error": {"kind": "other", "message": text, "code": type(error).__name__}}, b""


def find(task: str, package: list[str]) -> Any:
    """The function `module:name`. `package` are the folders of the module's first part, for connectors
    outside of the import path."""
    name, _, function = task.partition(":")
    top = name.partition(".")[0]
    if package and top not in sys.modules:
        made = types.ModuleType(top)
        made.__path__ = package
        sys.modules[top] = made
    return getattr(importlib.import_module(name), function)


def limit(seconds: float, megabytes: int) -> None:
    """Set the soft limits for one piece of work, on top of what this process has used and holds already."""
    _soft(resource.RLIMIT_AS, _pages(0) + megabytes * MIB)
    _soft(resource.RLIMIT_CPU, math.ceil(time.process_time() + seconds) + 1)


def _soft(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    unlimited = resource.RLIM_INFINITY
    resource.setrlimit(kind, (value if hard == unlimited else hard if value == unlimited else min(value, hard), hard))


def _pages(field: int) -> int:
    """Bytes of this process: 0 of address space, 1 in memory."""
    return int(Path("/proc/self/statm").read_text().split()[field]) * resource.getpagesize()


if __name__ == "__main__":
    main()
