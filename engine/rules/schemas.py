"""JSON schemas of ports and properties, as manifests have them: not strict, and not always sound (engine.md §2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema_rs
import orjson

from engine.model.manifest import InPort

_validators: dict[tuple[bytes, bool], jsonschema_rs.Validator] = {}


def validator(schema: Mapping[str, Any] | None, *, secret: bool = False) -> jsonschema_rs.Validator | None:
    """Compiled once per distinct schema. A schema that cannot be compiled validates nothing (engine.md §2).

    `secret`: its messages do not repeat the values they complain of.
    """
    if not schema:
        return None
    key = orjson.dumps(schema), secret
    if key not in _validators:
        try:
            _validators[key] = jsonschema_rs.Draft7Validator(_lenient(schema), mask="the value" if secret else None)
        except (jsonschema_rs.ValidationError, ValueError):
            _validators[key] = jsonschema_rs.Draft7Validator({})
    return _validators[key]


def _lenient(schema: Any) -> Any:
    """Drop local references that lead nowhere: one real manifest has one."""
    definitions = schema.get("definitions", {}) if isinstance(schema, Mapping) else {}

    def clean(node: Any) -> Any:
        if isinstance(node, Mapping):
            ref = node.get("$ref")
            if isinstance(ref, str) and ref.startswith("#/definitions/") and ref.split("/")[2] not in definitions:
                return {}
            return {k: clean(v) for k, v in node.items()}
        return [clean(v) for v in node] if isinstance(node, list) else node

    return clean(schema)


def text_fields(port: InPort) -> frozenset[str]:
    """Fields whose schema type is string and nothing else: what is bound to them arrives as text (engine.md §4)."""
    properties = (port.schema or {}).get("properties")
    if not isinstance(properties, Mapping):
        return frozenset()
    return frozenset(
        name for name, schema in properties.items() if isinstance(schema, Mapping) and schema.get("type") == "string"
    )


def with_defaults(properties: Mapping[str, Any], schema: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Schema defaults for properties the designer never saved (utils-components.md "http")."""
    declared = (schema or {}).get("properties")
    if not isinstance(declared, Mapping):
        return properties
    defaults = {
        name: given["default"]
        for name, given in declared.items()
        if isinstance(given, Mapping) and "default" in given and name not in properties
    }
    return {**properties, **defaults} if defaults else properties
