"""Contains: does a value contain another? Case does not matter."""

from __future__ import annotations

from connectors.appmixer.utils._kit import compare
from engine.sdk import Component, Context


class Contains(Component):
    effects = "none"

    def receive(self, context: Context) -> None:
        message = context.messages["in"]
        found = compare.contains(message.content["sourceData"], message.content["value"])
        context.send(message.original_content, "contains" if found else "notContains")
