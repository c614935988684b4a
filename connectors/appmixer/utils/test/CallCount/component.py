"""CallCount: waits for a number of messages and hands their contents on as one array."""

from __future__ import annotations

from connectors.appmixer.utils.test.protocol import answer, begun, register, run_id
from engine.sdk import Component, Context


class CallCount(Component):
    """State {runId}; one gather per test run, or one for all when the flow has no BeforeAll."""

    effects = "state"

    def start(self, context: Context) -> None:
        register(context)

    def signal(self, context: Context) -> None:
        if (run := begun(context)) is None:
            return
        before = context.state.get("runId", "")
        if before != run:
            context.gather(_group(before)).clear()
        context.state.set("runId", run)
        answer(context, run)

    def receive(self, context: Context) -> None:
        message = context.messages["in"]
        calls = context.gather(_group(run_id(context)))
        calls.add(message.original_content)
        wanted = message.content["callCount"]
        if calls.count() >= wanted and calls.fire():
            context.send(calls.items()[: int(wanted)], "out")


def _group(run: str | None) -> str:
    return f"calls:{run or ''}"
