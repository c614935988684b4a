"""LessThan: is a number or date at most, or below, another?"""

from __future__ import annotations

from connectors.appmixer.utils._kit import compare
from engine.sdk import Component, Context


class LessThan(Component):
    effects = "none"

    def receive(self, context: Context) -> None:
        message = context.messages["in"]
        fields = message.content
        holds = compare.less(fields["sourceData"], fields["lessThan"], exclusive=bool(fields.get("exclusive")))
        context.send(message.original_content, "less" if holds else "notLess")
