"""What a mapping is compiled into: small objects that give one value for one frame.

Plain classes with slots rather than closures: a quarter of the memory at the same speed, and
10,000 running flows are kept compiled.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Protocol

from engine.errors import StepError
from engine.values.convert import to_text
from engine.values.frame import Call, FlowVariables, Frame
from engine.values.paths import Getter
from engine.values.registry import Bound, Modifier

_NO_FRAME = Frame({}, FlowVariables(), "", 0)

LONGEST_TEXT = 64 * 1024 * 1024
"""Characters of a text that variables are put into; a variable alone may be as long as an output."""

Outputs = Iterator[tuple[str, str]]
"""(component id, out port) of every output a node looks at."""


class Node(Protocol):
    def evaluate(self, frame: Frame) -> Any: ...
    def outputs(self) -> Outputs: ...


class Literal:
    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def evaluate(self, frame: Frame) -> Any:
        return self.value

    def outputs(self) -> Outputs:
        return iter(())


class Output:
    """The whole output of a port, `$.id.port`; None when the step is gone or has not run."""

    __slots__ = ("component", "port")

    def __init__(self, component: str, port: str) -> None:
        self.component = component
        self.port = port

    def evaluate(self, frame: Frame) -> Any:
        ports = frame.scope.get(self.component)
        return None if ports is None else ports.get(self.port)

    def outputs(self) -> Outputs:
        yield self.component, self.port


class Variable(Output):
    """`$.id.port.path`."""

    __slots__ = ("path",)

    def __init__(self, component: str, port: str, path: Getter) -> None:
        super().__init__(component, port)
        self.path = path

    def evaluate(self, frame: Frame) -> Any:
        ports = frame.scope.get(self.component)
        return None if ports is None else self.path(ports.get(self.port))


class Step:
    """One modifier with its arguments, shared by all mappings that use it the same way.

    `bound` when all arguments are literals; else `params` and `named` are worked out per message.
    Wrong literals fail when a message comes, not before: other messages may not pass here.
    """

    __slots__ = ("bound", "contextual", "index", "modifier", "named", "params")

    def __init__(self, modifier: Modifier, index: int, params: tuple[Node, ...], named: dict[str, Node]) -> None:
        self.modifier = modifier
        self.contextual = modifier.contextual
        self.index = index
        self.params = params
        self.named = named
        self.bound: Bound | None = None
        if all(isinstance(node, Literal) for node in (*params, *named.values())):
            with suppress(StepError):
                self.bound = self._bind(_NO_FRAME)

    def _bind(self, frame: Frame) -> Bound:
        return self.modifier.bind(
            [node.evaluate(frame) for node in self.params],
            {name: node.evaluate(frame) for name, node in self.named.items()},
        )

    def apply(self, value: Any, frame: Frame, place: str) -> Any:
        bound = self.bound
        if bound is None:
            bound = self._bind(frame)
        call = Call(frame, f"{place}\x1f{self.index}") if self.contextual else None
        return self.modifier.run(value, bound, call)

    def outputs(self) -> Outputs:
        for node in (*self.params, *self.named.values()):
            yield from node.outputs()


class Unknown:
    """Stands for a modifier that the registry does not have."""

    __slots__ = ("name",)
    contextual = False

    def __init__(self, name: str) -> None:
        self.name = name

    def apply(self, value: Any, frame: Frame, place: str) -> Any:
        raise StepError(
            f"{self.name}: there is no such modifier; choose another one, or ask an administrator to add it",
            code="UNKNOWN_MODIFIER",
            retryable=False,
        )

    def outputs(self) -> Outputs:
        return iter(())


class Chain:
    """Modifiers applied one after the other to `start`; `place` seeds what is random in them."""

    __slots__ = ("place", "start", "steps")

    def __init__(self, start: Node, steps: tuple[Step | Unknown, ...], place: str) -> None:
        self.start = start
        self.steps = steps
        self.place = place

    def evaluate(self, frame: Frame) -> Any:
        value = self.start.evaluate(frame)
        for step in self.steps:
            value = step.apply(value, frame, self.place)
        return value

    def outputs(self) -> Outputs:
        yield from self.start.outputs()
        for step in self.steps:
            yield from step.outputs()


class Text:
    """Text with placeholders in it."""

    __slots__ = ("parts",)

    def __init__(self, parts: tuple[str | Node, ...]) -> None:
        self.parts = parts

    def evaluate(self, frame: Frame) -> Any:
        texts = [p if p.__class__ is str else to_text(p.evaluate(frame)) for p in self.parts]  # type: ignore[union-attr]
        size = sum(map(len, texts))
        if size > LONGEST_TEXT:
            text = f"a text with variables in it would be {size} characters long; {LONGEST_TEXT} are the most"
            raise StepError(text, code="TEXT_TOO_LONG", retryable=False)
        return "".join(texts)

    def outputs(self) -> Outputs:
        for part in self.parts:
            if not isinstance(part, str):
                yield from part.outputs()


class AsText:
    """One placeholder bound to a string field: text, except that nothing stays nothing."""

    __slots__ = ("node",)

    def __init__(self, node: Node) -> None:
        self.node = node

    def evaluate(self, frame: Frame) -> Any:
        value = self.node.evaluate(frame)
        return None if value is None else to_text(value)

    def outputs(self) -> Outputs:
        return self.node.outputs()


class ListOf:
    __slots__ = ("items",)

    def __init__(self, items: tuple[Node, ...]) -> None:
        self.items = items

    def evaluate(self, frame: Frame) -> Any:
        return [item.evaluate(frame) for item in self.items]

    def outputs(self) -> Outputs:
        for item in self.items:
            yield from item.outputs()


class ObjectOf:
    """An object whose `keys` are worked out, by `nodes`; the other values are in `template`."""

    __slots__ = ("keys", "nodes", "template")

    def __init__(self, template: dict[str, Any], keys: tuple[str, ...], nodes: tuple[Node, ...]) -> None:
        self.template = template
        self.keys = keys
        self.nodes = nodes

    def evaluate(self, frame: Frame) -> dict[str, Any]:
        result = self.template.copy()
        for key, node in zip(self.keys, self.nodes):  # noqa: B905 (the argument costs more than a field)
            result[key] = node.evaluate(frame)
        return result

    def outputs(self) -> Outputs:
        for node in self.nodes:
            yield from node.outputs()
