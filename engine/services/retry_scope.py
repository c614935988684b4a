"""Completes the scope of a message that is tried again under a newer revision (design.md §4.2).

A message carries only what the steps of its own revision could still read. What the newest one
reads besides is looked up in the run log by correlation id; if it cannot be found there, that
is an error, never an empty value.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from engine.compiler import Output, Plan, Step
from engine.errors import BadRequest
from engine.model.log import LogQuery
from engine.model.message import Message, Scope
from engine.ports import LogIndex
from engine.services.plans import Plans, RunningFlow


def completed_scope(message: Message, step: Step, running: RunningFlow, plans: Plans, log_index: LogIndex) -> Scope:
    """The message's scope with what `step` of the newest revision, or a later one, reads besides.

    Raises BadRequest naming the output that is kept nowhere.
    """
    scope: Scope = {cid: dict(ports) for cid, ports in message.scope.items()}
    for cid, port in sorted(_lacking(message, step, running, plans)):
        if (cid, port) == (message.sender_id, message.sender_port):
            content = message.content
        else:
            content = _logged(message, running.plan, (cid, port), log_index)
        scope.setdefault(cid, {})[port] = content
    return scope


def _lacking(message: Message, step: Step, running: RunningFlow, plans: Plans) -> Iterable[Output]:
    if message.revision == running.revision or step.needs is None:
        return ()
    earlier = before(running.plan, step.id)
    wanted = {output for output in step.needs if output[0] in earlier}
    former_plan = plans.plan(running, message.revision)
    former = former_plan.steps.get(step.id) if former_plan is not running.plan else None
    if former is not None:
        # what it would have carried and does not was never emitted on this way
        wanted = set() if former.needs is None else wanted.difference(former.needs)
    return {(cid, port) for cid, port in wanted if port not in message.scope.get(cid, {})}


def before(plan: Plan, step_id: str) -> set[str]:
    """All steps a message may have passed on its way."""
    senders: dict[str, set[str]] = {}
    for step in plan.steps.values():
        for links in step.targets.values():
            for target, _ in links:
                senders.setdefault(target, set()).add(step.id)
    found: set[str] = set()
    waiting = [step_id]
    while waiting:
        more = senders.get(waiting.pop(), set()) - found
        found |= more
        waiting.extend(more)
    return found


def _logged(message: Message, plan: Plan, output: Output, log_index: LogIndex) -> object:
    cid, port = output
    escaped = port.replace("\\", "\\\\").replace('"', '\\"')
    query = f'correlationId:"{message.correlation_id}" AND componentId:"{cid}" AND portType:out AND port:"{escaped}"'
    page = log_index.search(LogQuery(query, (message.flow_id,), size=2, buckets=False))
    where = f"output {port!r} of {plan.steps[cid].label or cid}, which the flow now reads,"
    if not page.hits:
        raise BadRequest(f"{where} is not in the message and not in the run log; the message cannot be tried again")
    if len(page.hits) > 1:
        raise BadRequest(f"{where} was emitted several times in this execution; the message cannot be tried again")
    try:
        if page.hits[0].get("cut") or page.hits[0].get("masked"):
            raise ValueError("not what was emitted")
        return orjson.loads(page.hits[0].get("msg") or "")
    except ValueError as error:
        raise BadRequest(
            f"{where} is not in the message, and the run log kept only a part of it; the message cannot be tried again"
        ) from error
