from __future__ import annotations

from engine.sdk import Component, Context

from ...api import call


class CreateOrder(Component):
    """`effects` stays "external": the shop must not get an order twice, so the engine runs this step alone."""

    def receive(self, context: Context) -> None:
        wanted = context.messages["in"].content
        # The shop knows an order by its reference and takes it once, even when this message is redelivered.
        order = call(context, "POST", "/orders", {**wanted, "reference": context.message_id})
        context.log(f"order {order['id']} was placed")
        context.send(order, "order")
