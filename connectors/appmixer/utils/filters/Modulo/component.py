"""Modulo: the remainder of a division, sent as a bare number."""

from __future__ import annotations

from connectors.appmixer.utils._kit import compare
from engine.sdk import Component, Context


class Modulo(Component):
    """No filter, in spite of its module. Null when there is no remainder (JSON has no NaN)."""

    effects = "none"

    def receive(self, context: Context) -> None:
        fields = context.messages["in"].content
        context.send(compare.remainder(fields["sourceData"], fields["value"]), "modulo")
