"""What a flow's designer knows about the output of an earlier step."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from engine.sdk import Context, StepError

_LONE = re.compile(r"\{\{\{([^{}]+)\}\}\}")


def bound_variable(context: Context, port: str, field: str) -> str | None:
    """The variable `$.<component>.<port>.<path>` a field is bound to.

    None unless the field of each link is exactly one variable, the same one, without modifiers.
    """
    step = context.descriptor.steps.get(context.component_id)
    if step is None:
        return None
    found = set()
    for sender, out_ports in step.source.get(port, {}).items():
        for out_port in out_ports:
            mapping = step.transform.get(port, {}).get(sender, {}).get(out_port)
            found.add(_variable(mapping.lambda_, mapping.modifiers, field) if mapping else None)
    return found.pop() if len(found) == 1 else None


def _variable(lambda_: Mapping[str, Any], modifiers: Mapping[str, Any], field: str) -> str | None:
    value = lambda_.get(field)
    lone = _LONE.fullmatch(value.strip()) if isinstance(value, str) else None
    if lone is None:
        return None
    if lone[1].startswith("$."):
        return lone[1]
    entry = (modifiers.get(field) or {}).get(lone[1]) or {}
    variable = entry.get("variable")
    return variable if isinstance(variable, str) and not entry.get("functions") else None


def item_schema(context: Context, variable: str) -> Mapping[str, Any] | None:
    """Schema of the items of the list at `variable`, from the options of the out port it comes from."""
    _, _, rest = variable.partition("$.")
    component_id, _, rest = rest.partition(".")
    port, _, path = rest.partition(".")
    for found in _options(context, component_id, port):
        if found.get("value") == path and isinstance(found.get("schema"), Mapping):
            items = found["schema"].get("items")
            return items if isinstance(items, Mapping) else None
    return None


def _options(context: Context, component_id: str, port: str) -> list[Mapping[str, Any]]:
    """Options of another step's out port; none when they cannot be had, say before its account is chosen."""
    step = context.descriptor.steps.get(component_id)
    manifest = context.manifest(step.type) if step else None
    if step is None or manifest is None:
        return []
    given = next((p for p in manifest.get("outPorts") or () if isinstance(p, Mapping) and p.get("name") == port), {})
    if not isinstance(given.get("source"), Mapping):
        return [o for o in given.get("options") or () if isinstance(o, Mapping)]
    inputs = {
        f"inputs/{in_port}/{name}": value
        for in_port, senders in step.transform.items()
        for out_ports in senders.values()
        for mapping in out_ports.values()
        for name, value in mapping.lambda_.items()
    }
    known = {**inputs, **{f"properties/{name}": value for name, value in step.properties.items()}}
    try:
        return _call(context, given["source"], known)
    except StepError:
        return []


def _call(context: Context, source: Mapping[str, Any], known: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Ask the component a dynamic source names (engine.md §2, `source`)."""
    path, _, query = str(source.get("url", "")).partition("?")
    data = source.get("data") or {}

    def fill(values: Any) -> dict[str, Any]:
        return {k: known.get(v) if _is_reference(v) else v for k, v in (values or {}).items()}

    result = context.call_component(
        ".".join(path.strip("/").split("/")[1:]),
        query.removeprefix("outPort="),
        properties=fill(data.get("properties")),
        messages=fill(data.get("messages")),
        transform=data.get("transform"),
    )
    return [o for o in result if isinstance(o, Mapping)] if isinstance(result, list) else []


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("inputs/", "properties/"))
