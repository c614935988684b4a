from __future__ import annotations

from connectors.appmixer.utils.storage.entry import found
from engine.sdk import Component, Context


class Get(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        given = context.messages["in"].content
        entry = found(context, given["storeId"], given["key"])
        if entry is None:
            context.send({"key": given["key"]}, "notFound")
        else:
            context.send(entry, "out")
