"""SetVariable: emits named values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connectors.appmixer.utils._kit.options import option
from engine.sdk import Component, Context

SCHEMAS: dict[str, dict[str, Any]] = {
    "number": {"type": "number"},
    "toggle": {"type": "boolean"},
    "date-time": {"type": "string", "format": "date-time"},
    "filepicker": {"type": "string", "format": "appmixer-file-id"},
}
"""Of the types that are not a plain text."""


class SetVariable(Component):
    effects = "none"

    def receive(self, context: Context) -> None:
        entries = _entries(context.messages["in"].content if "in" in context.messages else None)
        if context.properties.get("generateOutputPortOptions"):
            schemas = {e["name"]: SCHEMAS.get(_type(e), {"type": "string"}) for e in entries}
            context.send([option(name, name, schema) for name, schema in schemas.items()], "out")
        else:
            context.send({e["name"]: e[_type(e)] for e in entries if _type(e) in e}, "out")


def _type(entry: Mapping[str, Any]) -> str:
    """The key the value stands under. The designer offers text first and may not save that choice."""
    return entry.get("type") or "text"


def _entries(content: Any) -> list[Mapping[str, Any]]:
    variables = content.get("variables") if isinstance(content, Mapping) else None
    rows = variables.get("ADD") if isinstance(variables, Mapping) else None
    return [row for row in rows or () if isinstance(row, Mapping) and row.get("name")]
