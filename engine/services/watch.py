"""What a waiting call finds out by itself, without being told."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from engine.errors import HeadraceError, NotFound
from engine.model.execution import ExecutionRow
from engine.model.message import Message
from engine.ports import Bus
from engine.services.plans import Plans

PATIENCE = 2.0
"""Seconds for the run log to catch up with what the call has caused, before it is believed as it is."""


@dataclass(slots=True)
class Watch:
    """Of the call that `message` is. `rows` are an execution's in the run log, by correlation id."""

    message: Message
    bus: Bus
    plans: Plans
    rows: Callable[[str], Sequence[ExecutionRow]]
    _since: float | None = field(default=None, repr=False)

    def others_at_work(self) -> bool:
        """Whether something of the execution still runs, asked when all that a call back has caused is over.

        What waits for time or for another call does not count: that may take for ever.
        """
        message = self.message
        if self.bus.depth(message.flow_id) == 0:
            return False
        now = time.monotonic()
        if self._since is None:
            self._since = now
        try:
            row = next((row for row in self.rows(message.correlation_id) if row.flow_id == message.flow_id), None)
        except HeadraceError:
            row = None
        if (row is None or row.last < message.created) and now - self._since < PATIENCE:
            return True
        return row is not None and row.status == "running"

    def stopped(self, *, last: bool = False) -> bool:
        """Whether the call's run is over. Steps that are at work may answer yet; `last`: nobody waits for them."""
        message = self.message
        try:
            running = self.plans.running(message.flow_id)
        except HeadraceError:
            return False
        if running is not None and running.run == message.run:
            return False
        return last or self.bus.depth(message.flow_id) == 0


def stopped(flow_id: str) -> NotFound:
    """What a call is told whose flow has been stopped."""
    text = f"flow {flow_id} was stopped before the call was answered: start it and call again"
    return NotFound(text, code="FLOW_STOPPED")
