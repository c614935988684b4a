"""StopFlow: stops the flow it is part of."""

from __future__ import annotations

from engine.sdk import Component, Context


class StopFlow(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        context.stop_flow()
