"""Copies the write-ahead log into the database file beside the commits, not within one of them.

SQLite's own way is that the commit which fills the log copies all of it: 50 ms or more in which
everybody waits. Here a thread copies what there is, and the writer then only the little that came
meanwhile, which lets the log begin anew.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

EVERY = 1.0
"""Seconds between two copies while there are commits."""

COPY = "PRAGMA wal_checkpoint(PASSIVE)"
"""Waits for nobody, and nobody waits for it."""

LIMIT = 50_000
"""Pages of log at which SQLite's own way steps in."""


class Checkpoints:
    """`rest` is called after each copy: the writer is to copy the rest."""

    def __init__(self, path: Path, rest: Callable[[], None]) -> None:
        self._path = path
        self._rest = rest
        self._written = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"checkpoints {path.name}", daemon=True)
        self._thread.start()

    def committed(self) -> None:
        self._written = True

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        while not self._closing.wait(EVERY):
            if not self._written:
                continue
            self._written = False
            try:
                if connection is None:
                    connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
                connection.execute(COPY).fetchone()
            except sqlite3.Error as error:  # a full disk, say: commits fail as well and tell everybody
                log.debug("the write-ahead log could not be copied: %s", error)
                continue
            self._rest()
        if connection is not None:
            connection.close()

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
