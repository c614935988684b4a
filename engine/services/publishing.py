"""Messages that begin or continue an execution from outside of a delivery."""

from __future__ import annotations

from collections.abc import Sequence

from engine.model.message import Message
from engine.ports import Bus, Clock, Settlement
from engine.services.records import accounting


def publish(bus: Bus, clock: Clock, messages: Sequence[Message]) -> None:
    """Returns when they are durable, each counted to its execution."""
    now = clock.now()
    logs = [accounting(message, "p", now, delta=1) for message in messages]
    bus.settle(None, Settlement(publishes=list(messages), logs=logs)).result()
