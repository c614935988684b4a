from __future__ import annotations

from engine.sdk import Component, Context


class RemoveFile(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        context.send(context.remove_file(context.messages["in"].content["fileId"]), "deleted")
