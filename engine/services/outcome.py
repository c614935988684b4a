"""What one call of a hook, or one delivery, has caused so far: plain data until it is settled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from engine.compiler import Step
from engine.model.message import Message
from engine.ports import Doc, Settlement, StateChange, Write


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


def not_json(error: Exception) -> Reply:
    """What is sent instead of an answer that cannot be sent."""
    message = f"the flow's answer is not JSON: {error}"
    return Reply(500, {"statusCode": 500, "error": "Internal Server Error", "message": message})


@dataclass(slots=True)
class CallResult:
    """What one call of a hook asked for. `waits`: time-outs set, and FOREVER for a call back.

    `sent` counts all emissions, also those a window has already made durable; `size` is the bytes of the others.
    """

    emissions: list[Emission] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    signals: list[Any] = field(default_factory=list)
    log_lines: list[tuple[str, Any]] = field(default_factory=list)
    reply: Reply | None = None
    stop_flow: bool = False
    waits: int = 0
    sent: int = 0
    size: int = 0
    states: list[StateChange] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """For the ledger: everything a duplicate has to do again instead of calling."""
        return {
            "emissions": [[e.port, e.content, e.scope] for e in self.emissions],
            "writes": [[w.collection, w.id, w.doc] for w in self.writes],
            "signals": self.signals,
            "logLines": self.log_lines,
            "reply": self.reply.to_json() if self.reply else None,
            "stopFlow": self.stop_flow,
            "waits": self.waits,
            "states": [[c.owner, c.verb, c.key, c.value] for c in self.states],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> CallResult:
        reply = data["reply"]
        return cls(
            emissions=[
                Emission(port, content, orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS).decode(), scope)
                for port, content, scope in data["emissions"]
            ],
            writes=[Write(*write) for write in data["writes"]],
            signals=data["signals"],
            log_lines=[(level, content) for level, content in data["logLines"]],
            reply=Reply(reply["status"], reply["body"], reply["headers"]) if reply else None,
            stop_flow=data["stopFlow"],
            waits=data["waits"],
            sent=len(data["emissions"]),
            states=[StateChange(*change) for change in data["states"]],
        )


@dataclass(slots=True)
class Outcome:
    """Of a delivery. `steps` have begun; `waits` counts the timers that keep the execution open.

    `made` counts the messages its steps caused, and the time-outs they set, but what windows have made durable:
    that is `windowed`. `over` tells that the delivery was given up meanwhile, `here` that it never was on the bus.

    `put_back` names the accounting record of a message that waits for a slot or for its flow's start.
    `given_up` counts the messages that will not be tried again by themselves; `cancelled` says why some
    were discarded on purpose. `reply` is the answer to the call, by the step `by`, `again` if one before it has
    answered already; `answered` says that the call is answered where it has arrived.
    """

    publishes: list[Message] = field(default_factory=list)
    logs: list[Doc] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    reply: Reply | None = None
    by: Step | None = None
    again: bool = False
    answered: bool = False
    stop_flows: set[str] = field(default_factory=set)
    states: list[StateChange] = field(default_factory=list)
    waits: int = 0
    put_back: str = ""
    failures: list[Doc] = field(default_factory=list)
    given_up: int = 0
    cancelled: str | None = None
    steps: int = 0
    made: int = 0
    windowed: int = 0
    here: bool = False
    over: Callable[[], bool] = lambda: False

    def settlement(self) -> Settlement:
        return Settlement(self.publishes, self.logs, self.writes, self.states)

    @property
    def ended(self) -> bool:
        """Nothing of the execution is left to run, as far as this delivery knows."""
        return not self.publishes and self.waits == 0 and self.windowed == 0
