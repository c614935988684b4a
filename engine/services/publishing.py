"""Messages that begin or continue an execution from outside of a delivery."""

from __future__ import annotations

from collections.abc import Sequence

from engine.model.message import Message
from engine.ports import Bus, Clock, Settlement, Write
from engine.services.accounting import accounting


def publish(
    bus: Bus, clock: Clock, messages: Sequence[Message], *, unprocessed: int = 0, writes: Sequence[Write] = ()
) -> None:
    """Returns when they are durable, each counted to its execution; see `accounting` for `unprocessed`.

    `writes` become durable with them.
    """
    now = clock.now()
    logs = [accounting(message, "p", now, delta=1, unprocessed=unprocessed) for message in messages]
    bus.settle(None, Settlement(list(messages), logs, list(writes))).result()
