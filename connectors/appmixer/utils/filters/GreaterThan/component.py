"""GreaterThan: is a number or date at least, or above, another?"""

from __future__ import annotations

from connectors.appmixer.utils._kit import compare
from engine.sdk import Component, Context


class GreaterThan(Component):
    effects = "none"

    def receive(self, context: Context) -> None:
        message = context.messages["in"]
        fields = message.content
        holds = compare.greater(fields["sourceData"], fields["greaterThan"], exclusive=bool(fields.get("exclusive")))
        context.send(message.original_content, "greater" if holds else "notGreater")
