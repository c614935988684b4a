"""A copy of a flow's descriptor under new component ids."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

DISTINCT = 20
"""Ids this long are taken for references wherever a text consists of one; shorter ones may be ordinary words."""

VARIABLE = re.compile(r"\$\.([A-Za-z0-9_-]+)")


def clone_descriptor(flow: Mapping[str, Any], new_id: Callable[[], str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The copy, and {old id: new id}. Links, mappings and variables (`$.<id>.…`) follow."""
    ids = {cid: new_id() for cid in flow}
    replace = _Replacer(ids)
    return {ids[cid]: replace.component(component) for cid, component in flow.items()}, ids


class _Replacer:
    def __init__(self, ids: Mapping[str, str]) -> None:
        self.ids = ids

    def component(self, component: Mapping[str, Any]) -> dict[str, Any]:
        copy: dict[str, Any] = self.value(component)
        if isinstance(copy.get("source"), dict):
            copy["source"] = self.by_port(copy["source"])
        config = copy.get("config")
        if isinstance(config, dict) and isinstance(config.get("transform"), dict):
            config["transform"] = self.by_port(config["transform"])
        return copy

    def by_port(self, ports: dict[str, Any]) -> dict[str, Any]:
        """{in port: {sender id: …}} with the senders' new ids."""
        return {
            port: {self.ids.get(sender, sender): rest for sender, rest in senders.items()}
            if isinstance(senders, dict)
            else senders
            for port, senders in ports.items()
        }

    def value(self, value: Any) -> Any:
        if isinstance(value, str):
            if len(value) >= DISTINCT and value in self.ids:
                return self.ids[value]
            return (
                VARIABLE.sub(lambda found: f"$.{self.ids.get(found[1], found[1])}", value) if "$." in value else value
            )
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, Mapping):
            return {key: self.value(item) for key, item in value.items()}
        return value
