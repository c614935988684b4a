from __future__ import annotations

from engine.sdk import Component, Context


class Set(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        given = context.messages["in"].content
        context.send(context.stores.set(given["storeId"], given["key"], given["value"]), "out")
