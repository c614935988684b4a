from __future__ import annotations

from engine.sdk import Component, Context

from ...api import call


class NewOrder(Component):
    """A polling trigger: the first tick only notes where the list ends.

    State is kept at once, messages leave when the call has returned. A crash between the two
    delivers the tick again, so it remembers which tick moved the position, and from where.
    """

    def tick(self, context: Context) -> None:
        kept = context.state.get("position") or {}
        last = kept.get("before" if kept.get("by") == context.message_id else "last")
        orders = call(context, "GET", "/orders", after=last)
        if last is not None:
            context.send_array(orders, "order")
        newest = orders[-1]["id"] if orders else last or "0"
        context.state.set("position", {"last": newest, "before": last, "by": context.message_id})
