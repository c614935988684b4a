from __future__ import annotations

from engine.sdk import Component, Context


class LoadFile(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        content = context.load_file(context.messages["in"].content["fileId"])
        context.send({"content": content.decode("utf-8", "replace")}, "content")
