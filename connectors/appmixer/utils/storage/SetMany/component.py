from __future__ import annotations

from connectors.appmixer.utils._kit.inputs import entries
from engine.sdk import Component, Context


class SetMany(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        given = context.messages["in"].content
        pairs = entries(given["keyValuePairs"], "AND")
        results = [context.stores.set(given["storeId"], pair.get("key", ""), pair.get("value")) for pair in pairs]
        context.send({"results": results}, "out")
