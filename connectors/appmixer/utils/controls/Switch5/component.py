"""Switch5: leaves by the port of the first expression that holds, else by `else`."""

from __future__ import annotations

from connectors.appmixer.utils._kit import expression
from engine.sdk import Component, Context


class Switch5(Component):
    effects = "none"

    def receive(self, context: Context) -> None:
        content = context.messages["in"].content or {}
        for branch in range(1, 6):
            condition = content.get(f"expression{branch}")
            if expression.is_given(condition) and expression.holds(context, condition):
                context.send({}, f"out{branch}")
                return
        context.send({}, "else")
