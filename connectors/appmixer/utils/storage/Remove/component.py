from __future__ import annotations

from engine.sdk import Component, Context


class Remove(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        given = context.messages["in"].content
        context.send(context.stores.remove(given["storeId"], given["key"]), "removed")
