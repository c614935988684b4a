"""What one call of a hook, or one delivery, has caused so far: plain data until it is settled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from engine.model.message import Message
from engine.ports import Doc, Settlement, Write


@dataclass(frozen=True, slots=True)
class Emission:
    """One `send`: `text` is the content as JSON text, made once for check, log and size."""

    port: str
    content: Any
    text: str
    scope: dict[str, dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a webhook call."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"status": self.status, "body": self.body, "headers": self.headers}


@dataclass(slots=True)
class Outcome:
    """Of a delivery. `waits` counts the timers that keep the execution open.

    `put_back` names the accounting record of a message that waits for a slot or for its flow's start.
    """

    publishes: list[Message] = field(default_factory=list)
    logs: list[Doc] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    reply: Reply | None = None
    stop_flows: set[str] = field(default_factory=set)
    waits: int = 0
    put_back: str = ""
    failures: list[Doc] = field(default_factory=list)

    def settlement(self) -> Settlement:
        return Settlement(self.publishes, self.logs, self.writes)

    @property
    def ended(self) -> bool:
        """Nothing of the execution is left to run, as far as this delivery knows."""
        return not self.publishes and self.waits == 0
