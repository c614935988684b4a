"""Secrets in flows and in kept messages: whose eyes see them (issue 4 "Retention and privacy").

The fields that a component's manifest or its service's auth form declares as passwords are shown to the
flow's owner only. Others see a mask in their place; saving a flow with the mask keeps what is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engine.compiler import Lookup
from engine.ports import Doc
from engine.rules.masking import MASK, masker_of

CONTENTS = ("content", "scope", "originalContent")


class Secrecy:
    """`masked`: names of fields and headers that hold secrets in any component."""

    def __init__(self, lookup: Lookup, masked: Iterable[str]) -> None:
        self._lookup = lookup
        self._masked = frozenset(masked)

    def for_others(self, record: Doc) -> Doc:
        """A flow record with the passwords in its steps masked."""
        flow = record.get("flow")
        if not isinstance(flow, Mapping):
            return record
        return {**record, "flow": {cid: self._step_for_others(step) for cid, step in flow.items()}}

    def _step_for_others(self, step: Any) -> Any:
        names = self._passwords(step)
        config = step.get("config") if names else None
        return {**step, "config": _masked(config, names)} if isinstance(config, Mapping) else step

    def _passwords(self, step: Any) -> frozenset[str]:
        component = self._lookup(step["type"]) if isinstance(step, Mapping) and step.get("type") else None
        return component.password_fields if component else frozenset()

    def messages(self, record: Mapping[str, Any] | None, messages: Doc) -> Doc:
        """{port: [message]} of an unprocessed message as the API shows it: masked, and without its contents when
        its flow keeps none. `record` is its flow's."""
        record = record or {}
        if record.get("payloads") == "never":
            return {port: [{**m, **dict.fromkeys(CONTENTS)} for m in group] for port, group in messages.items()}
        names = self._masked.union(*(self._passwords(step) for step in (record.get("flow") or {}).values()))
        masked: Doc = masker_of(names).value(messages)
        return masked


def _masked(value: Any, names: frozenset[str]) -> Any:
    """JSON data with the values of the keys in `names` masked, wherever they stand."""
    if isinstance(value, Mapping):
        return {
            key: MASK if key in names and isinstance(item, str) and item else _masked(item, names)
            for key, item in value.items()
        }
    return [_masked(item, names) for item in value] if isinstance(value, list) else value


def restored(value: Any, stored: Any) -> Any:
    """`value` with what is stored at the same place wherever it holds the mask."""
    if value == MASK:
        return value if stored is None else stored
    if isinstance(value, Mapping) and isinstance(stored, Mapping):
        return {key: restored(item, stored.get(key)) for key, item in value.items()}
    if isinstance(value, list) and isinstance(stored, list):
        return [restored(item, stored[n] if n < len(stored) else None) for n, item in enumerate(value)]
    return value
