"""Work for the children of test_children.py: functions at the top of a module they can import."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from engine.errors import NotFound
from engine.sdk import StepError


def same(payload: Any) -> Any:
    return payload


def double(payload: Any) -> Any:
    return payload * 2


def who(_payload: Any) -> dict[str, Any]:
    """The process, how much memory it holds, and what it sees of our environment."""
    status = Path("/proc/self/status").read_text()
    held = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return {
        "pid": os.getpid(), "kilobytes": held, "environment": dict(os.environ),
        "cores": len(os.sched_getaffinity(0)),
    }  # fmt: skip


def sleep(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def tell_and_sleep(path: str) -> None:
    """Write the process id to a file, then work for a minute."""
    Path(path + ".part").write_text(str(os.getpid()))
    Path(path + ".part").rename(path)
    time.sleep(60)


def tell_family_and_sleep(path: str) -> None:
    """As `tell_and_sleep`, with the id of a process this one has started."""
    helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    Path(path + ".part").write_text(str(helper.pid))
    Path(path + ".part").rename(path)
    time.sleep(60)


def spin(_payload: Any) -> None:
    """Busy in C code that never looks at signals."""
    re.match(r"(a+)+$", "a" * 40 + "b")


def allocate(megabytes: int) -> int:
    return len(bytearray(megabytes * 1024 * 1024))


def exit_with(code: int) -> None:
    os._exit(code)


def crash(_payload: Any) -> None:
    ctypes.string_at(0)


def killed(_payload: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def raise_step_error(payload: dict[str, Any]) -> None:
    raise StepError(payload["message"], code=payload["code"], retryable=payload["retryable"], details=[{"row": 3}])


def raise_not_found(_payload: Any) -> None:
    raise NotFound("there is no such page")


def raise_value_error(_payload: Any) -> None:
    raise ValueError("line 7 is wrong")


def chatter(text: str) -> str:
    """Prints, which must not get into the answer."""
    print(text)  # noqa: T201
    os.write(1, b"more of it")
    return text


def not_json(_payload: Any) -> Any:
    return object()


def exit_in_order(_payload: Any) -> None:
    sys.exit(0)
