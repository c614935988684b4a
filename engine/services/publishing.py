"""Messages that begin or continue an execution from outside of a delivery."""

from __future__ import annotations

from collections.abc import Sequence

from engine.model.message import Message
from engine.ports import Bus, Clock, Settlement
from engine.services.accounting import accounting


def publish(bus: Bus, clock: Clock, messages: Sequence[Message], *, unprocessed: int = 0) -> None:
    """Returns when they are durable, each counted to its execution; see `accounting` for `unprocessed`."""
    now = clock.now()
    logs = [accounting(message, "p", now, delta=1, unprocessed=unprocessed) for message in messages]
    bus.settle(None, Settlement(publishes=list(messages), logs=logs)).result()
