"""Every error the product raises on purpose, in one tree.

    HeadraceError                     status  retryable
    ├── BadRequest                    400     no    wrong input; `details` lists what, by path
    ├── Unauthorized                  401     no    no token, a bad or an expired one
    ├── Forbidden                     403     no    known caller, not allowed
    ├── NotFound                      404     no
    ├── Conflict                      409     yes   somebody else changed it first
    ├── PreconditionFailed            412     no    If-Match names another revision
    ├── TooLarge                      413     no
    ├── TooManyRequests               429     yes
    ├── Unavailable                   503     yes   a service is down, a disk is full
    │   └── DeliveryLost                      yes   its message comes again by itself
    ├── TimedOut                      504     yes
    └── StepError                     422     set by the raiser: a component failed
        ├── CancelError                       no    discard the message, no retry, no record
        ├── ValidationFailed                  no    input does not fit the port's schema
        └── LockNotAcquired                   yes

`status` is the HTTP status of the answer when the error reaches the web layer;
`retryable` tells the worker whether the same message may succeed later.
"""

from __future__ import annotations

from typing import Any


class HeadraceError(Exception):
    """Base of all: `message` is shown to people, `code` is for programs."""

    status = 500
    code = "INTERNAL"
    retryable = False

    def __init__(self, message: str, *, code: str | None = None, details: list[Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details or []
        if code is not None:
            self.code = code


class BadRequest(HeadraceError):
    status = 400
    code = "BAD_REQUEST"


class Unauthorized(HeadraceError):
    status = 401
    code = "UNAUTHORIZED"


class Forbidden(HeadraceError):
    status = 403
    code = "FORBIDDEN"


class NotFound(HeadraceError):
    status = 404
    code = "NOT_FOUND"


class Conflict(HeadraceError):
    status = 409
    code = "CONFLICT"
    retryable = True


class PreconditionFailed(HeadraceError):
    status = 412
    code = "PRECONDITION_FAILED"


class TooLarge(HeadraceError):
    status = 413
    code = "TOO_LARGE"


class TooManyRequests(HeadraceError):
    status = 429
    code = "TOO_MANY_REQUESTS"
    retryable = True


class Unavailable(HeadraceError):
    status = 503
    code = "UNAVAILABLE"
    retryable = True


class DeliveryLost(Unavailable):
    """A delivery cannot be settled any more: the broker takes it for lost and delivers its message again."""

    code = "DELIVERY_LOST"


class TimedOut(HeadraceError):
    status = 504
    code = "TIMED_OUT"
    retryable = True


class StepError(HeadraceError):
    """A component could not do its work.

    `code` may be an HTTP status as text ("429") or a system code ("ECONNRESET"):
    `rules.retry` decides by it. `retryable=None` means "decide by the code".
    """

    status = 422
    code = "STEP_FAILED"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        retryable: bool | None = None,
        details: list[Any] | None = None,
    ) -> None:
        super().__init__(message, code=code, details=details)
        self.retry_hint = retryable


class CancelError(StepError):
    """Discard the message: no retry, no unprocessed message (engine.md §3)."""

    code = "CANCELLED"

    def __init__(self, message: str = "Cancelled", *, details: list[Any] | None = None) -> None:
        super().__init__(message, retryable=False, details=details)


class ValidationFailed(StepError):
    """The mapped input does not fit the port's schema (engine.md §5)."""

    code = "GRID_ERR_VAL_PORTS"

    def __init__(self, message: str, *, details: list[Any] | None = None) -> None:
        super().__init__(message, retryable=False, details=details)


class LockNotAcquired(StepError):
    code = "LOCK_NOT_ACQUIRED"

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=True)
