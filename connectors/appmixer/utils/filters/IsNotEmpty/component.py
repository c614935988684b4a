"""IsNotEmpty: is there anything in a field?"""

from __future__ import annotations

from connectors.appmixer.utils._kit import compare
from engine.sdk import Component, Context


class IsNotEmpty(Component):
    effects = "none"

    def receive(self, context: Context) -> None:
        message = context.messages["in"]
        empty = compare.is_empty((message.content or {}).get("sourceData"))
        context.send(message.original_content, "empty" if empty else "notEmpty")
