"""Counter: counts messages."""

from __future__ import annotations

from engine.sdk import Component, Context


class Counter(Component):
    effects = "state"

    def start(self, context: Context) -> None:
        context.state.set("count", context.properties.get("count", 0))

    def receive(self, context: Context) -> None:
        if "reset" in context.messages:
            given = (context.messages["reset"].content or {}).get("count")
            context.state.set("count", context.properties.get("count", 0) if given is None else given)
        else:
            context.send({"count": context.state.inc("count", context.properties.get("increment", 1))}, "count")
