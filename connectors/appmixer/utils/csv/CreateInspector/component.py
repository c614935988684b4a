from __future__ import annotations

from engine.sdk import Component, Context


class CreateInspector(Component):
    effects = "none"

    def receive(self, context: Context) -> None:
        names = ("withHeaders", "filterRows")
        context.send({name: context.properties.get(name) for name in names if name in context.properties}, "out")
