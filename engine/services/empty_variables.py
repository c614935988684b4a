"""Warnings before a flow runs: variables that will be empty, whatever comes (engine.md §4 "disabled", "variable").

They keep nothing from starting. What stands in mappings that belong to no link is never read, so it is not told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from engine.compiler import Lookup
from engine.errors import BadRequest
from engine.model.flow import Descriptor, StepSpec
from engine.rules.links import ERROR_PORT, Problem
from engine.values.registry import builtin_registry
from engine.values.template import compile_mapping

KEYWORD = "emptyVariable"

Fields = Iterator[tuple[str, frozenset[str], Mapping[str, Any], Mapping[str, Any]]]
"""(path, steps that have run by then, field → value, field → variables)"""


def warnings(descriptor: Descriptor, lookup: Lookup) -> list[Problem]:
    """One for each field and output it reads in vain."""
    earlier = _Earlier(descriptor)
    found = []
    for step in descriptor.steps.values():
        for path, before, values, variables in () if step.disabled else _fields(step, earlier, lookup):
            for field, value in values.items():
                for cid, port in sorted(_reads(field, value, variables)):
                    why = _empty(descriptor, before, cid, port, lookup)
                    if why is not None:
                        text = f"{_name(step)}, {field}: {why}; its value will be empty"
                        found.append(Problem(step.id, f"{path}.{field}", text, KEYWORD))
    return found


def _fields(step: StepSpec, earlier: _Earlier, lookup: Lookup) -> Fields:
    component = lookup(step.type)
    for port, senders in step.source.items() if component else ():
        declared = component.manifest.in_port(port) if component else None
        for sender, outs in senders.items() if declared is not None and not declared.bare else ():
            for out in outs:
                mapping = step.transform.get(port, {}).get(sender, {}).get(out)
                if mapping is not None:
                    path = f"config.transform.{port}.{sender}.{out}.lambda"
                    yield path, earlier.and_itself(sender), mapping.lambda_, mapping.modifiers
    yield "config.properties", earlier.of(step.id), step.properties, step.property_modifiers


def _reads(field: str, value: Any, variables: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    if "{{{" not in str(value):
        return frozenset()
    try:
        return compile_mapping({field: value}, {field: variables.get(field) or {}}, builtin_registry()).reads
    except BadRequest:  # nested too deeply, which is told when the flow is started
        return frozenset()


def _empty(descriptor: Descriptor, before: frozenset[str], cid: str, port: str, lookup: Lookup) -> str | None:
    step = descriptor.steps.get(cid)
    if step is None:
        return f"reads the step {cid}, which is not in the flow any more"
    if step.disabled:
        return f"reads {_name(step)}, which is disabled"
    if cid not in before:
        return f"reads {_name(step)}, which is not on the way here"
    component = lookup(step.type)
    if component is not None and port != ERROR_PORT and component.manifest.out_port(port) is None:
        return f"reads the out port {port!r}, which {_name(step)} does not have"
    return None


def _name(step: StepSpec) -> str:
    return step.label or step.type.rsplit(".", 1)[-1]


class _Earlier:
    """Which steps a message may have passed before it comes to one."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._steps = descriptor.steps
        self.and_itself = cache(self._and_itself)

    def of(self, cid: str) -> frozenset[str]:
        senders = {sender for ports in self._steps[cid].source.values() for sender in ports}
        return frozenset().union(*map(self.and_itself, senders))

    def _and_itself(self, cid: str) -> frozenset[str]:
        found: set[str] = set()
        waiting = [cid]
        while waiting:
            here = waiting.pop()
            if here in self._steps and here not in found:
                found.add(here)
                waiting.extend(sender for ports in self._steps[here].source.values() for sender in ports)
        return frozenset(found)
