from __future__ import annotations

from engine.sdk import Component, Context


class CreateStore(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        given = context.messages["in"].content
        name = given["name"]
        store_id = next((store["storeId"] for store in context.stores.list() if store["name"] == name), None)
        if store_id is None:
            store_id = context.stores.create(name)
        elif given.get("clear"):
            context.stores.clear(store_id)
        context.send({"storeId": store_id}, "out")
