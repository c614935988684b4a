"""Accounting records: what each settlement did to its execution, for the indexer (design.md §4 "Executions").

They travel with the log records of the settlement and are summed up by the log index; nobody is shown them.
An execution whose `delta`s sum to zero, and that has no timer, has ended.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.model.message import REPLAY_OF, Message, new_id
from engine.ports import Doc
from engine.services.outcome import Outcome


def accounting(
    message: Message,
    kind: str,
    now: int,
    *,
    delta: int,
    steps: int = 0,
    failures: Sequence[Doc] = (),
    waits: int = 0,
    unprocessed: int = 0,
    cancelled: str | None = None,
) -> Doc:
    """`kind` tells the records of one message apart: "p" published from outside, "d" delivered, "r" run
    where it arrived, "t<due>" published by a timer, "b<due>" put back, "w<n>" sent in a window, "s" taken off the
    bus when its flow stopped.

    `delta` = messages created minus messages consumed. `trigger` is the component an execution begins
    with. `waits`: something of it waits for time or a call. `unprocessed`: messages given up; negative
    for one tried again by hand. `cancelled`: why messages of it were discarded on purpose.
    """
    replay_of = message.extra.get(REPLAY_OF) if message.extra else None
    record: Doc = {
        "id": f"{message.id}.{message.attempt}.{kind}",
        "created": now,
        "type": "delivery",
        "flowId": message.flow_id,
        "correlationId": message.correlation_id,
        "run": message.run,
        "revision": message.revision,
        "trigger": message.component_id if message.sender_id is None else message.sender_id if kind == "p" else None,
        "delta": delta,
        "steps": steps,
    }
    if failures:
        record["errors"] = len(failures)
        record["failedAt"] = failures[-1]["message"].component_id
    if waits:
        record["waits"] = 1
    if unprocessed:
        record["unprocessed"] = unprocessed
    if cancelled is not None:
        record["cancelled"] = cancelled
    if replay_of is not None:
        record["replayOf"] = replay_of
    return record


def of_delivery(first: Message, outcome: Outcome, now: int, *, consumed: int) -> list[Doc]:
    """The record of one delivery; none for a poll that found nothing, which is no execution.

    Ticks are not counted when they are published, so they do not count as consumed either.
    """
    if first.kind == "tick":
        if not (outcome.publishes or outcome.failures or outcome.logs):
            return []
        consumed = 0
    return [
        accounting(
            first,
            outcome.put_back or ("d" if consumed else "r"),
            now,
            delta=len(outcome.publishes) - consumed,
            steps=outcome.steps,
            failures=outcome.failures,
            waits=outcome.waits,
            unprocessed=outcome.given_up,
            cancelled=outcome.cancelled,
        )
    ]


def cancelled(flow_id: str, correlation_id: str, run: int, revision: int, now: int, reason: str) -> Doc:
    """Ends an execution that is still open."""
    return {
        "id": f"{flow_id}.{correlation_id}.{run}.c",
        "created": now,
        "type": "delivery",
        "flowId": flow_id,
        "correlationId": correlation_id,
        "run": run,
        "revision": revision,
        "delta": 0,
        "steps": 0,
        "cancelled": reason,
    }


def flow_stopped(flow_id: str, run: int, now: int, reason: str) -> Doc:
    """Ends all executions of a run, and of runs before, that are still open."""
    return {
        "id": new_id(now), "created": now, "type": "flow-stopped", "flowId": flow_id, "run": run, "reason": reason,
    }  # fmt: skip
