"""How long things are kept, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

DAY = 86_400_000


@dataclass(frozen=True, slots=True)
class Keep:
    """At most `days` days and `bytes` bytes of something; 0 sets no bound."""

    days: int = 0
    bytes: int = 0

    def before(self, now: int) -> int | None:
        """Epoch ms before which things are too old; None when there is no bound."""
        return now - self.days * DAY if self.days else None
