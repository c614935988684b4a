from __future__ import annotations

from engine.sdk import Component, Context

from ...api import call

KEPT_MS = 60_000


class ListProducts(Component):
    """Called by the designer to fill a list of choices, so its answer is kept for a minute."""

    def receive(self, context: Context) -> None:
        key = f"acme.shop.products:{context.auth['url']}"
        products = context.cache_get(key)
        if products is None:
            products = call(context, "GET", "/products")
            context.cache_set(key, products, KEPT_MS)
        context.send({"products": products}, "out")
