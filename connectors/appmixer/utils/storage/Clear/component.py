from __future__ import annotations

from engine.sdk import Component, Context


class Clear(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        store_id = context.messages["in"].content["storeId"]
        context.send({"deletedCount": context.stores.clear(store_id), "storeId": store_id}, "cleared")
