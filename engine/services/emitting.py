"""What a step sent, as messages to the steps it is linked to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from engine.compiler import Plan, Step, trim
from engine.model.message import Message, derived_id, inherited
from engine.ports import Doc
from engine.sdk import Component
from engine.services.outcome import Emission
from engine.services.payloads import Payloads
from engine.services.records import record


def child_id(parent_id: str, out_port: str, n: int, component_id: str, in_port: str) -> str:
    """The id of what the `n`th output of a message's step becomes at one of its links (`n` from 1)."""
    return derived_id(parent_id, out_port, n, component_id, in_port)


def children(
    plan: Plan, step: Step, message: Message, emissions: Sequence[Emission], first: int, now: int, *, alone: bool
) -> list[Message]:
    """One copy per emission and link, ids derived from the parent's (design.md §4.5).

    `first` is the position of the first emission within the whole call. With `alone`, the call has
    sent nothing else, so a single copy may take the scope over without copying it.
    """
    result = []
    extra = inherited(message)
    for n, emission in enumerate(emissions, first + 1):
        targets = step.targets.get(emission.port, ())
        read = plan.read is None or (step.id, emission.port) in plan.read
        base = message.scope if emission.scope is None else emission.scope
        for cid, port in targets:
            scope = base if alone and len(targets) == 1 else dict(base)
            if read:
                scope[step.id] = {emission.port: emission.content}
            result.append(
                Message(
                    id=child_id(message.id, emission.port, n, cid, port),
                    flow_id=message.flow_id,
                    run=message.run,
                    revision=message.revision,
                    component_id=cid,
                    correlation_id=message.correlation_id,
                    port=port,
                    content=emission.content,
                    scope=scope,
                    created=now,
                    sender_id=step.id,
                    sender_port=emission.port,
                    depth=message.depth,
                    extra=extra,
                )
            )
    return result


def records_of(
    message: Message,
    step: Step,
    emissions: Sequence[Emission],
    first: int,
    now: int,
    payloads: Payloads,
    *,
    contents: bool,
) -> list[Doc]:
    """The log records of emissions; a large one's names the stored value beside its beginning."""
    result = []
    for n, emission in enumerate(emissions, first + 1):
        doc = record(message, step, n, now, emission.text if contents else "", "out", emission.port)
        if contents and "cut" in doc and "masked" not in doc and (key := payloads.key_of(emission.content)) is not None:
            doc["payload"] = key
        result.append(doc)
    return result


def trimmed(plan: Plan, message: Message, payloads: Payloads) -> Message:
    """A message as it is stored: without outputs that nothing after it reads, large values by name."""
    step = plan.steps.get(message.component_id)
    short = replace(message, scope=trim(message.scope, step.needs)) if step is not None else message
    return payloads.detach(short)


def signals(message: Message, content: object, n: int, now: int, listeners: Sequence[str]) -> list[Message]:
    """A signal as one message to each of the components that listen."""
    return [
        replace(
            message,
            id=derived_id(message.id, "signal", n, cid),
            component_id=cid,
            port="signal",
            kind="signal",
            content=content,
            scope={},
            created=now,
            sender_id=message.component_id,
            sender_port=None,
            attempt=0,
            extra=inherited(message),
        )
        for cid in listeners
    ]


def listeners(plan: Plan) -> list[str]:
    """Ids of the components that a signal reaches."""
    return [cid for cid, step in plan.steps.items() if type(step.behaviour).signal is not Component.signal]
