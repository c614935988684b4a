from __future__ import annotations

from engine.sdk import Component, Context


class CollectOrders(Component):
    effects = "state"  # gathers, state, time-outs and files only: a second call with the same message changes nothing

    def receive(self, context: Context) -> None:
        batch = context.gather("orders")
        if "in" in context.messages:
            batch.add(context.messages["in"].content)
            if context.state.inc("waiting") == 1:
                context.set_timeout({}, context.properties["seconds"] * 1000)
            return
        context.state.set("waiting", 0)
        orders = batch.take()
        if orders:
            rows = ["id,quantity", *(f"{order['id']},{order.get('quantity', '')}" for order in orders)]
            file = context.save_file("orders.csv", "\n".join(rows).encode(), "text/csv")
            context.send({"fileId": file.file_id, "count": len(orders)}, "out")
