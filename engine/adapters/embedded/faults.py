"""What can be wrong with a database file: in words, and over time (issue 4 "Faults of the machine").

A fault passes: the disk is full, another program holds the lock. While there is one, nothing is acknowledged.
Damage stays until somebody puts a backup in place of the file; to write on would make it worse.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.errors import HeadraceError, Unavailable

DAMAGED = "DAMAGED"
STORAGE = "STORAGE"

_ADVICE = "the database file is damaged; put a backup in its place, see docs/operating.md (nothing in it was changed)"
_FAULTS = (
    ("disk is full", "the disk is full"),
    ("malformed", _ADVICE),
    ("not a database", _ADVICE),
    ("locked", "the database is locked by another program"),
    ("readonly", "the database file cannot be written"),
    ("unable to open", "the database file cannot be opened"),
    ("disk i/o", "the disk reports an input/output error"),
    ("queuepool limit", "too many readers at a time"),
)

WHOLE = 256 * 1024 * 1024
"""Bytes up to which a file is checked as a whole when it is opened: about half a second."""

VITAL = ("queue", "log_queue", "doc_flows", "doc_timers", "doc_users", "doc_ledger")
"""Tables of a larger file that are checked: what the engine cannot start without."""


def translate(error: Exception, path: Path) -> HeadraceError:
    """A driver's error as ours, its cause kept by the caller's `raise … from`."""
    text = str(getattr(error, "orig", error)).lower()
    for sign, meaning in _FAULTS:
        if sign in text:
            return Unavailable(f"{path.name}: {meaning}", code=DAMAGED if meaning is _ADVICE else STORAGE)
    return HeadraceError(f"{path.name}: {getattr(error, 'orig', error)}", code=STORAGE)


def damaged(path: Path) -> Unavailable:
    return Unavailable(f"{path.name}: {_ADVICE}", code=DAMAGED)


def check(connection: Any, path: Path) -> None:
    """Look through a file that was just opened, `connection` being the driver's. Raises Unavailable when it is damaged.

    Indexes are not compared with their tables, which would take five times as long.
    """
    if path.stat().st_size <= WHOLE:
        questions = ["PRAGMA quick_check(1)"]
    else:
        found = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        questions = [f"PRAGMA quick_check({table})" for table in VITAL if table in found]
    for question in questions:
        if connection.execute(question).fetchone()[0] != "ok":
            raise damaged(path)


class Condition:
    """The present state of a file. `word` says what is wrong with it, if anything is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.fault: HeadraceError | None = None
        self.damage: HeadraceError | None = None

    def note(self, error: Exception) -> HeadraceError:
        """Remember what an error says about the file. → the error as ours."""
        ours = error if isinstance(error, HeadraceError) else translate(error, self._path)
        if ours is not error:
            ours.__cause__ = error
        if ours.code == DAMAGED:
            self.damage = ours
        return ours

    @property
    def word(self) -> str | None:
        wrong = self.damage or self.fault
        return wrong.message if wrong else None
