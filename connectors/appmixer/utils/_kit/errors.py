"""What steps raise when their input is wrong."""

from __future__ import annotations

from engine.sdk import StepError


def wrong(message: str) -> StepError:
    """Something a repetition cannot mend: name the field and say what it must be."""
    return StepError(message, code="EINVAL", retryable=False)
