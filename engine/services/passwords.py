"""Passwords at rest: argon2id (design.md §7)."""

from __future__ import annotations

import threading

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from engine.errors import BadRequest

SHORTEST = 5
LONGEST = 1000

_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_seats = threading.BoundedSemaphore(2)
"""A hash takes 19 MiB and a core: a crowd signing in at once waits instead of filling the memory."""

_nobody: list[str] = []


def check(password: str, field: str = "password") -> str:
    """The password, if it may be used. Raises BadRequest."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise BadRequest(f"{field} must have {SHORTEST} to {LONGEST} characters")
    return password


def hashed(password: str) -> str:
    with _seats:
        return _hasher.hash(password)


def verify(stored: str | None, password: str) -> bool:
    """Whether the password fits; without a stored hash it takes as long and says no."""
    if stored is None:
        if not _nobody:
            _nobody.append(hashed("nobody's password"))
        verify(_nobody[0], password)
        return False
    try:
        with _seats:
            return _hasher.verify(stored, password[: LONGEST + 1])
    except (VerificationError, InvalidHashError):
        return False


def outdated(stored: str) -> bool:
    """Whether the hash was made with weaker parameters than today's."""
    return _hasher.check_needs_rehash(stored)
