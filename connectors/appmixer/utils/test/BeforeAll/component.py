"""BeforeAll: begins a test run once every test component of the flow is ready."""

from __future__ import annotations

from connectors.appmixer.utils._kit.dates import iso
from connectors.appmixer.utils.test.protocol import RUN, receivers, run_id
from engine.sdk import Component, Context

WAIT = 60
"""Seconds for the answers, unless the service's configuration has `syncTimeout`."""


class BeforeAll(Component):
    """State: the `scope` of the message that began the run, and `timeoutId`.

    `waiting` in the flow state is a set that holds the one run being prepared: entering it is
    what makes a second message a second one.
    """

    effects = "state"

    def receive(self, context: Context) -> None:
        if "timeout" in context.messages:
            self._give_up(context)
        elif context.state.add_to_set("waiting", "run"):
            self._begin(context)
        else:
            context.log("a test run is being prepared already; this message is ignored", level="warning")

    def _begin(self, context: Context) -> None:
        run = context.uuid()
        now = round(context.now().timestamp() * 1000)
        seconds = context.config.get("syncTimeout") or WAIT
        if (before := run_id(context)) not in (None, run):
            context.gather(f"ready:{before}").clear()
        context.flow_state.set(RUN, {"started": iso(context.now()), "runId": run})
        context.state.set("scope", context.messages["in"].scope)
        context.state.set("timeoutId", context.set_timeout({"runId": run}, seconds * 1000))
        context.send_signal({"beforeAll": {"now": now, "runId": run}})

    def signal(self, context: Context) -> None:
        answer = context.signal_content
        run = run_id(context)
        if not isinstance(answer, dict) or "componentId" not in answer or answer.get("runId") != run:
            return
        ready = context.gather(f"ready:{run}")
        ready.add(answer["componentId"])
        if receivers(context) <= set(ready.items()) and ready.fire():
            now = round(context.now().timestamp() * 1000)
            context.send({"now": now, "runId": run}, "out", scope=context.state.get("scope"))
            context.clear_timeout(context.state.get("timeoutId"))
            context.state.remove_from_set("waiting", "run")

    def _give_up(self, context: Context) -> None:
        run = context.messages["timeout"].content["runId"]
        ready = context.gather(f"ready:{run}")
        if ready.fire():
            missing = sorted(receivers(context) - set(ready.items()))
            context.log({"message": "test components did not answer in time", "missing": missing}, level="error")
            context.flow_state.unset(RUN)
            context.state.remove_from_set("waiting", "run")
