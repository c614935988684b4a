"""Times are epoch milliseconds inside and ISO 8601 text outside."""

from __future__ import annotations

from datetime import UTC, datetime


def iso(ms: int) -> str:
    """`2026-01-31T08:15:00.123Z`."""
    seconds, millis = divmod(ms, 1000)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{millis:03d}Z"


def from_iso(text: str) -> int:
    """Raises ValueError. Text without a zone is read as UTC."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def to_datetime(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
