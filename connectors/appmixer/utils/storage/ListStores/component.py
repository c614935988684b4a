from __future__ import annotations

from engine.sdk import Component, Context


class ListStores(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        context.send(context.stores.list(), "out")
