"""MockValue: emits a given text; for tests of flows."""

from __future__ import annotations

from engine.sdk import Component, Context


class MockValue(Component):
    effects = "none"

    def receive(self, context: Context) -> None:
        context.send({"outvalue": context.messages["in"].content["value"]}, "out")
