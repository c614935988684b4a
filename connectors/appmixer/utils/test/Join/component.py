"""Join (test): pairs the one message on `join` with every message on `in`."""

from __future__ import annotations

import sys

from connectors.appmixer.utils.test.protocol import kept, merged, run_id
from engine.sdk import Component, Context, Incoming, StepError

BEFORE_ALL = "appmixer.utils.test.BeforeAll"


class Join(Component):
    """Per run, one gather for the `join` message, which stays, and one for `in` messages that wait for it."""

    effects = "state"
    reads_scope = True

    def receive(self, context: Context) -> None:
        side = "join" if "join" in context.messages else "in"
        message = context.messages[side]
        run = _run_of(context, message)
        if run != run_id(context):
            context.log("this message belongs to a test run that is over; it is ignored", level="warning")
            return
        joined, waiting = context.gather(f"join:{run}"), context.gather(f"in:{run}")
        (joined if side == "join" else waiting).add(kept(message))
        first = next(iter(joined.items()), None)
        # whoever completes a pair takes it; also asked when nothing can be there: a repeated message gets its own back
        pairs = waiting.take(1 if first else sys.maxsize)
        for item in pairs or ():
            assert first is not None
            output = {"join": first["content"], "in": item["content"]}
            context.send(output, "out", scope=merged((first["scope"], item["scope"])))


def _run_of(context: Context, message: Incoming) -> str:
    """The run of the BeforeAll this message comes from. Raises StepError when there is none."""
    for component, ports in message.scope.items():
        step = context.descriptor.steps.get(component)
        run = (ports.get("out") or {}).get("runId") if step and step.type == BEFORE_ALL else None
        if run:
            return str(run)
    raise StepError("Join needs a BeforeAll before it: none is among the earlier steps", retryable=False)
