"""Emissions in windows: a step that emits very many messages makes them durable a window at a time.

The position is stored with each window, so a step that dies on the way goes on where it was when
its message comes again (design.md §4 "Bounds"). Only for steps that do the same again when they get
the same message: what they send first is then skipped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.ports import Documents, Write
from engine.services.outcome import CallResult, Emission

WINDOW = 500
WINDOW_BYTES = 16 * 1024 * 1024
"""Of JSON: what a window holds in memory, unless a single emission is larger."""
COLLECTION = "windows"


@dataclass(slots=True)
class Windows:
    """Of one call. `skip` emissions are durable already; `settle` makes some durable with the new position."""

    skip: int
    settle: Callable[[list[Emission], int, Write], None]
    message_id: str
    flow_id: str
    now: int

    def flush(self, result: CallResult) -> None:
        """Settle what has been emitted so far and forget it."""
        first = result.sent - len(result.emissions)
        position = {"_id": self.message_id, "emitted": result.sent, "flowId": self.flow_id, "created": self.now}
        self.settle(result.emissions, first, Write(COLLECTION, self.message_id, position))
        self.skip = result.sent
        result.emissions.clear()
        result.size = 0

    def forget(self) -> list[Write]:
        """For the settlement of the whole message."""
        return [Write(COLLECTION, self.message_id, None)] if self.skip else []


def position(documents: Documents, message_id: str) -> int:
    """How many emissions of a message are durable."""
    found = documents.get(COLLECTION, message_id)
    return int(found["emitted"]) if found else 0
