"""Input mappings and properties, compiled once per flow revision (engine.md §4).

The rules, for a placeholder `{{{id}}}`:

- A value that is exactly one placeholder keeps its JSON type. Bound to a field in `text_fields`
  (typed string in the port's schema) it arrives as text, lists and objects as JSON, numbers and
  booleans too: the schema would refuse anything else. Nothing stays null there.
- Within text it is interpolated: lists and objects as JSON, nothing as "", 3.0 as "3".
- `id` is looked up in the modifiers of the top-level field. Without an entry, `$.id.port.path`
  is a variable, the name of a modifier that needs no value (`g_flowId`) is that modifier, and a
  UUID is a variable that was lost: nothing. Anything else is text somebody typed, and stays.
- A variable of a step that is gone, or did not run on this path, is nothing.

Literals are kept as they are in the flow and handed out again and again: **what an evaluation
returns must not be changed below its top level.**
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from sys import intern
from typing import Any

import orjson

from engine.errors import BadRequest
from engine.values.frame import FlowVariables, Frame
from engine.values.nodes import AsText, Chain, ListOf, Literal, Node, ObjectOf, Output, Step, Text, Unknown, Variable
from engine.values.paths import compile_path
from engine.values.registry import Registry

__all__ = ["Compiled", "FlowVariables", "Frame", "compile_mapping", "compile_properties", "parse_variable"]

MAX_DEPTH = 64
SHORT = 32
"""Texts of up to this length occur in thousands of flows: equal ones are one object."""

SHARED_BYTES = 200
"""Properties without placeholders and with at most this much JSON are one object when they are equal."""

_PLACEHOLDER = re.compile(r"\{\{\{([^{}]*)\}\}\}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_VARIABLE = re.compile(r"\$\.([^.\[\]]+)\.([^.\[\]]+)(.*)", re.DOTALL)
_NOTHING = Literal(None)


class Compiled(ObjectOf):
    """One mapping: `evaluate(frame)` gives field → value.

    It raises StepError, not retryable, when a modifier cannot work on what it gets.
    """

    __slots__ = ()

    @property
    def reads(self) -> frozenset[tuple[str, str]]:
        """The outputs it looks at, as (component id, port)."""
        return frozenset(self.outputs())

    @property
    def constant(self) -> bool:
        return not self.nodes


def compile_mapping(
    lambda_: Mapping[str, Any],
    modifiers: Mapping[str, Any],
    registry: Registry,
    *,
    text_fields: frozenset[str] = frozenset(),
) -> Compiled:
    """Compile one link's mapping. Raises BadRequest only for values nested deeper than MAX_DEPTH.

    Modifier entries the lambda does not name are ignored; malformed ones count as absent.
    """
    nodes: dict[str, Node] = {}
    for field, raw in lambda_.items():
        entries = modifiers.get(field)
        node = _Scope(registry, entries if isinstance(entries, Mapping) else {}, field).compile(raw)
        if field in text_fields and isinstance(raw, str) and not isinstance(node, Literal | Text):
            node = AsText(node)
        nodes[field] = node
    return Compiled(*_split(nodes))


def _split(nodes: Mapping[str, Node]) -> tuple[dict[str, Any], tuple[str, ...], tuple[Node, ...]]:
    """Template, keys and nodes of an object; all keys stand in the template, to keep their order."""
    dynamic = {intern(key): node for key, node in nodes.items() if not isinstance(node, Literal)}
    keys = _shared_keys(tuple(dynamic))
    if len(dynamic) == len(nodes):
        return _blank(keys), keys, tuple(dynamic.values())
    template = {intern(key): node.value if isinstance(node, Literal) else None for key, node in nodes.items()}
    return template, keys, tuple(dynamic.values())


@lru_cache(maxsize=4096)
def _shared_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    return keys


@lru_cache(maxsize=4096)
def _blank(keys: tuple[str, ...]) -> dict[str, Any]:
    return dict.fromkeys(keys)


def compile_properties(
    properties: Mapping[str, Any], modifiers: Mapping[str, Any], registry: Registry
) -> Compiled:  # fmt: skip
    """Compile design-time properties, which may use flow variables; same rules as `compile_mapping`."""
    try:
        key = orjson.dumps(properties)
    except TypeError:  # a number beyond 64 bits, say
        return compile_mapping(properties, modifiers, registry)
    if len(key) > SHARED_BYTES or b"{{{" in key:
        return compile_mapping(properties, modifiers, registry)
    return _shared_properties(key)


@lru_cache(maxsize=4096)
def _shared_properties(properties: bytes) -> Compiled:
    """Thousands of steps have the same few settings."""
    return Compiled(orjson.loads(properties), (), ())


def parse_variable(text: str) -> tuple[str, str, str] | None:
    """`$.id.port.path` → (id, port, path); path "" means the whole output. Braces around it are tolerated."""
    match = _VARIABLE.fullmatch(text.strip().removeprefix("{{{").removesuffix("}}}").strip())
    return None if match is None else (match[1], match[2], match[3].removeprefix("."))


@lru_cache(maxsize=4096)
def _shared_chain(registry: Registry, functions: bytes) -> tuple[Step | Unknown, ...]:
    """Chains with literal arguments only, keyed by their JSON text: equal ones are one object."""
    return _Scope(registry, {}, "").steps(orjson.loads(functions))


class _Scope:
    """Compiles the values under one top-level field, whose placeholders `entries` explains."""

    __slots__ = ("depth", "entries", "field", "registry")

    def __init__(self, registry: Registry, entries: Mapping[str, Any], field: str, depth: int = 0) -> None:
        self.registry = registry
        self.entries = entries
        self.field = field
        self.depth = depth

    def compile(self, value: Any, depth: int = 0) -> Node:
        if self.depth + depth > MAX_DEPTH:
            raise BadRequest(f'field "{self.field}" is nested deeper than {MAX_DEPTH} levels; make it flatter')
        if isinstance(value, str):
            return self.text(value) if "{{{" in value else Literal(intern(value) if len(value) <= SHORT else value)
        if not isinstance(value, Mapping | list):
            return Literal(value)
        if isinstance(value, list):
            items = tuple(self.compile(item, depth + 1) for item in value)
            return Literal(value) if all(isinstance(i, Literal) for i in items) else ListOf(items)
        nodes = {key: self.compile(item, depth + 1) for key, item in value.items()}
        if all(isinstance(node, Literal) for node in nodes.values()):
            return Literal(value)
        return ObjectOf(*_split(nodes))

    def text(self, text: str) -> Node:
        parts: list[str | Node] = []
        end = 0
        for match in _PLACEHOLDER.finditer(text):
            node = self.placeholder(match[1].strip())
            if node is None:
                continue
            if match.start() > end:
                parts.append(text[end : match.start()])
            parts.append(node)
            end = match.end()
        if end < len(text):
            parts.append(text[end:])
        nodes = [part for part in parts if not isinstance(part, str)]
        if not nodes:
            return Literal(text)
        return nodes[0] if len(parts) == 1 else Text(tuple(parts))

    def placeholder(self, id: str) -> Node | None:
        """None: it is not a placeholder but text."""
        entry = self.entries.get(id)
        if not isinstance(entry, Mapping):
            if (node := _variable(id)) is not None:
                return node
            modifier = self.registry.get(id)
            if modifier is not None and modifier.input is None:
                return self.chain(_NOTHING, [{"name": id}], id)
            return _NOTHING if _UUID.fullmatch(id) else None
        variable = entry.get("variable")
        start = _variable(variable if isinstance(variable, str) else id) or _NOTHING
        functions = entry.get("functions")
        if not isinstance(functions, list) or not functions:
            return start
        return self.chain(start, functions, id)

    def chain(self, start: Node, functions: list[Any], place: str) -> Node:
        steps = self.functions(functions)
        return Chain(start, steps, place if any(step.contextual for step in steps) else "")

    def functions(self, functions: list[Any]) -> tuple[Step | Unknown, ...]:
        try:
            key = orjson.dumps(functions, option=orjson.OPT_NON_STR_KEYS)
        except TypeError:  # a number beyond 64 bits, say: nothing equal to share it with
            return self.steps(functions)
        if b"{{{" in key:
            return self.steps(functions)
        return _shared_chain(self.registry, key)

    def steps(self, functions: list[Any]) -> tuple[Step | Unknown, ...]:
        return tuple(self.step(one, index) for index, one in enumerate(functions) if isinstance(one, Mapping))

    def step(self, raw: Mapping[str, Any], index: int) -> Step | Unknown:
        name = str(raw.get("name"))
        modifier = self.registry.get(name)
        if modifier is None:
            return Unknown(name)
        params, named = raw.get("params"), raw.get("hashParams")
        return Step(
            modifier,
            index,
            tuple(self.argument(one) for one in params) if isinstance(params, list) else (),
            {str(k): self.argument(one) for k, one in named.items()} if isinstance(named, Mapping) else {},
        )

    def argument(self, raw: Any) -> Node:
        """`{value, modifiers?}`: id → entry, for the placeholders in the value."""
        if not isinstance(raw, Mapping):
            return Literal(raw)
        own = raw.get("modifiers")
        scope = _Scope(self.registry, own if isinstance(own, Mapping) else {}, self.field, self.depth + 1)
        return scope.compile(raw.get("value"))


def _variable(text: str) -> Node | None:
    parsed = parse_variable(text)
    if parsed is None:
        return None
    component, port, path = parsed
    if not path:
        return Output(intern(component), intern(port))
    return Variable(intern(component), intern(port), compile_path(path))
