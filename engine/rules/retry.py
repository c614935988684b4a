"""Whether and when a failed message is tried again. Pure (engine.md §5 "Retry")."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Literal

from engine.errors import CancelError, HeadraceError, StepError
from engine.model.flow import ErrorHandling

PERMANENT = frozenset(
    "400 401 403 404 405 406 409 410 411 422 451 EACCES EINVAL ENOENT GRID_ERR_VAL_PORTS".split()  # noqa: SIM905
)
_BY_TYPE: tuple[tuple[type[BaseException], str], ...] = (
    (ConnectionRefusedError, "ECONNREFUSED"),
    (ConnectionResetError, "ECONNRESET"),
    (TimeoutError, "ETIMEDOUT"),
    (socket.gaierror, "ENOTFOUND"),
    (PermissionError, "EACCES"),
    (FileNotFoundError, "ENOENT"),
)

Verdict = Literal["retry", "discard", "give_up"]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`first` and `longest` are seconds; `attempts` counts all tries; `classify=False` retries every error."""

    first: float = 1.0
    longest: float = 600.0
    attempts: int = 30
    classify: bool = True


def error_code(error: BaseException) -> str:
    if isinstance(error, HeadraceError):
        return error.code
    for kind, code in _BY_TYPE:
        if isinstance(error, kind):
            return code
    return type(error).__name__


def may_succeed_later(error: BaseException, policy: RetryPolicy) -> bool:
    code = error_code(error)
    if isinstance(error, StepError):
        if error.retry_hint is not None:
            return error.retry_hint
    elif isinstance(error, HeadraceError):
        return error.retryable or not policy.classify
    if not policy.classify:
        return True
    return code not in PERMANENT


def decide(error: BaseException, attempt: int, handling: ErrorHandling, policy: RetryPolicy) -> Verdict:
    """`attempt` counts from 0 and is the try that has just failed."""
    if isinstance(error, CancelError):
        return "discard"
    if not handling.auto_retry or not may_succeed_later(error, policy):
        return "give_up"
    limit = policy.attempts if handling.max_retries is None else min(handling.max_retries + 1, policy.attempts)
    return "retry" if attempt + 1 < limit else "give_up"


def delay_ms(attempt: int, policy: RetryPolicy) -> int:
    """Pause after the failed try number `attempt` (from 0): doubles up to the longest."""
    return round(min(policy.first * 2.0 ** min(attempt, 30), policy.longest) * 1000)
