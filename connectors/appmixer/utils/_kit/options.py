"""Options of an out port (engine.md §2), built while a flow is designed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def option(label: str, value: str, schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """`value` is a path into the emitted JSON."""
    return {"label": label, "value": value} if schema is None else {"label": label, "value": value, "schema": schema}


def of_schema(schema: Any, prefix: str) -> list[dict[str, Any]]:
    """One option for each property of an object schema, those of nested objects included, below `prefix`."""
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    found = []
    for name, inner in properties.items() if isinstance(properties, Mapping) else ():
        inner = inner if isinstance(inner, Mapping) else {}
        path = f"{prefix}.{name}"
        found.append(option(str(inner.get("title") or name), path, inner))
        found.extend(of_schema(inner, path))
    return found
