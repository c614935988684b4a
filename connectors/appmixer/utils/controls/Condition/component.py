"""Condition: leaves by `true` or `false`."""

from __future__ import annotations

from connectors.appmixer.utils._kit import expression
from engine.sdk import Component, Context


class Condition(Component):
    effects = "none"

    def receive(self, context: Context) -> None:
        condition = (context.messages["in"].content or {}).get("expression")
        holds = expression.is_given(condition) and expression.holds(context, condition)
        context.send({}, "true" if holds else "false")
