"""The data folder belongs to one process (design.md §3)."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import IO

from engine.errors import Unavailable

LOCK_SECONDS = 10.0
"""How long a new process waits for one that is still ending."""


def lock_folder(folder: Path) -> IO[str]:
    """One process at a time: two writers on one file would each believe to be alone.

    Closing the file gives the folder back. Raises Unavailable naming the process that has it.
    """
    handle = (folder / "lock").open("a+")
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            if time.monotonic() < deadline:
                time.sleep(0.1)
                continue
            handle.seek(0)
            holder = handle.read().strip() or "unknown"
            handle.close()
            raise Unavailable(
                f"the data folder {folder} is in use by process {holder}; stop it first or set HEADRACE_DATA"
            ) from error
    handle.truncate(0)
    handle.write(str(os.getpid()))
    handle.flush()
    return handle
