"""Join: passes on what comes over any of its links."""

from __future__ import annotations

from engine.sdk import Component, Context


class Join(Component):
    effects = "none"

    def receive(self, context: Context) -> None:
        context.send(context.messages["in"].content, "out")
