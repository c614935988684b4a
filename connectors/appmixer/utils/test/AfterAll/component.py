"""AfterAll: waits for every branch of a test run and hands on what they brought."""

from __future__ import annotations

from typing import Any

from connectors.appmixer.utils.test.protocol import RUN, answer, begun, kept, merged, register, run_id
from engine.sdk import Component, Context, Link

TIMEOUT = 180
"""Seconds."""


class AfterAll(Component):
    """State {runId, timeoutId}; one gather per run, closed when all links brought a message or time is up."""

    effects = "state"

    def start(self, context: Context) -> None:
        register(context)

    def signal(self, context: Context) -> None:
        if (run := begun(context)) is None:
            return
        seconds = context.properties.get("timeout") or TIMEOUT
        before = context.state.load()
        if before.get("runId") not in (None, run):
            context.gather(before["runId"]).clear()
            context.clear_timeout(before.get("timeoutId"))
        context.state.save({"runId": run, "timeoutId": context.set_timeout({"runId": run}, seconds * 1000)})
        answer(context, run)

    def receive(self, context: Context) -> None:
        if "timeout" in context.messages:
            self._time_out(context)
            return
        if (run := run_id(context)) is None:
            context.log("no test run is active; this message is ignored", level="warning")
            return
        group = context.gather(run)
        group.add(kept(context.messages["in"]))
        arrived, links = group.items(), context.links()
        if not _missing(links, arrived) and group.fire():
            contents = [item["content"] for item in arrived]
            several = len({link.sender_id for link in links}) > 1
            self._finish(context, run, contents if several else contents[0], arrived)
            context.clear_timeout(context.state.get("timeoutId"))

    def _time_out(self, context: Context) -> None:
        run = context.messages["timeout"].content["runId"]
        group = context.gather(run)
        if run == run_id(context) and group.fire():
            arrived = group.items()
            output = {"message": "timed out", "timedOutLinks": _missing(context.links(), arrived)}
            self._finish(context, run, output, arrived)

    def _finish(self, context: Context, run: str, output: Any, arrived: list[Any]) -> None:
        context.send(output, "out", scope=merged(item["scope"] for item in arrived))
        state = context.flow_state.get(RUN) or {}
        context.flow_state.set(RUN, {**state, "runId": run, "done": True})


def _missing(links: list[Link], arrived: list[Any]) -> list[str]:
    """Links that have brought nothing yet, as "label:port"."""
    seen = {item["link"] for item in arrived}
    late = [link for link in links if f"{link.sender_id}:{link.sender_port}" not in seen]
    return [f"{link.sender_label or link.sender_id}:{link.sender_port}" for link in late]
