"""Range: does a number or date lie between two others?"""

from __future__ import annotations

from connectors.appmixer.utils._kit import compare
from engine.sdk import Component, Context


class Range(Component):
    effects = "none"

    def receive(self, context: Context) -> None:
        message = context.messages["in"]
        fields = message.content
        inside = compare.in_range(
            fields["sourceData"],
            fields["rangeMin"],
            fields["rangeMax"],
            exclusive_low=bool(fields.get("exclusiveMin")),
            exclusive_high=bool(fields.get("exclusiveMax")),
        )
        context.send(message.original_content, "inRange" if inside else "notInRange")
