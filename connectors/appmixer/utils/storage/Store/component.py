from __future__ import annotations

from connectors.appmixer.utils._kit.convert import json_text
from engine.sdk import Component, Context

KNOWN = "keys"


class Store(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        """A key is known by its JSON text, so the number 1 and the text "1" differ."""
        if (message := context.messages.get("add")) is not None:
            new = context.state.add_to_set(KNOWN, json_text(message.content["key"]))
            context.send(message.original_content, "new" if new else "updated")
        if (message := context.messages.get("remove")) is not None and context.state.remove_from_set(
            KNOWN, json_text(message.content["key"])
        ):
            context.send(message.original_content, "removed")
