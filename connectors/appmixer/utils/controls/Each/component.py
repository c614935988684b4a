"""Each: one message for every element of a list, then one when all are sent."""

from __future__ import annotations

from typing import Any

import orjson

from connectors.appmixer.utils._kit.options import of_schema, option
from connectors.appmixer.utils._kit.upstream import bound_variable, item_schema
from engine.sdk import CancelError, Component, Context


class Each(Component):
    effects = "none"

    def receive(self, context: Context) -> None:
        if context.properties.get("buildOutPortOptions"):
            context.send(_options(context), "item")
            return
        items = _list(context.messages["in"].content.get("list"))
        # stable when this message is delivered again, so a resumed loop keeps its id
        shared = {"count": len(items), "correlationId": context.uuid()}
        context.send_array(({"index": i, "value": value, **shared} for i, value in enumerate(items)), "item")
        context.send(shared, "done")


def _list(value: Any) -> list[Any]:
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise CancelError(f"list is a text, but not a JSON array: {error}") from error
    return value if isinstance(value, list) else []


def _options(context: Context) -> list[dict[str, Any]]:
    variable = bound_variable(context, "in", "list")
    items = item_schema(context, variable) if variable else None
    return [
        option("Position", "index", {"type": "integer"}),
        option("Item", "value", items),
        *of_schema(items, "value"),
        option("Number of items", "count", {"type": "integer"}),
        option("Loop id", "correlationId", {"type": "string"}),
    ]
