"""Identity: passes on what comes."""

from __future__ import annotations

from engine.sdk import Component, Context


class Identity(Component):
    effects = "none"

    def receive(self, context: Context) -> None:
        context.send(context.messages["in"].content, "out")
