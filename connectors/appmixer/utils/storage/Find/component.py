from __future__ import annotations

from engine.sdk import Component, Context


class Find(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        given = context.messages["in"].content
        items = context.stores.find(given["storeId"], pattern=given["pattern"])
        if items:
            context.send({"items": items}, "out")
        else:
            context.send({"pattern": given["pattern"], "items": []}, "notFound")
