"""NotEqual: does a value differ from another?"""

from __future__ import annotations

from connectors.appmixer.utils._kit import compare
from engine.sdk import Component, Context


class NotEqual(Component):
    effects = "none"

    def receive(self, context: Context) -> None:
        message = context.messages["in"]
        fields = message.content or {}
        equal = compare.loose_equal(fields.get("sourceData", ""), fields.get("value", ""))
        context.send(message.original_content, "equals" if equal else "notEquals")
