"""What the three triggers of a data store have in common."""

from __future__ import annotations

from typing import Any, ClassVar

from engine.sdk import Component, Context


class ItemTrigger(Component):
    """Told by the data store of one kind of event; every delivery is answered `ok`."""

    effects = "state"
    event: ClassVar[str]

    def start(self, context: Context) -> None:
        context.stores.register_webhook(context.properties["storeId"], [self.event])

    def stop(self, context: Context) -> None:
        context.stores.unregister_webhook(context.properties["storeId"])

    def receive(self, context: Context) -> None:
        data = context.messages["webhook"].content.get("data") or {}
        if data.get("type") == self.event:
            context.send(self.item(data), "item")
        context.respond("ok")

    def item(self, data: dict[str, Any]) -> dict[str, Any]:
        entry = data["currentValue"]
        return {name: entry.get(name) for name in ("key", "storeId", "value", "updatedAt", "createdAt")}
