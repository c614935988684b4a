"""Modifiers: what they are, the built-in ones, and the set an administrator may put in their place.

The JSON form is that of GET /modifiers (rest-api.md §8): {categories, modifiers}. Ours adds
`description` to each argument and `examples`; a built-in has no `helperFn`, since it is Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

from engine.errors import BadRequest, StepError
from engine.values.convert import KINDS, Unfit, any_value, describe
from engine.values.frame import Call

CATEGORIES: dict[str, dict[str, Any]] = {
    "control": {"label": "Control", "index": 1},
    "logic": {"label": "Logic", "index": 2},
    "text": {"label": "Text", "index": 3},
    "math": {"label": "Math", "index": 4},
    "list": {"label": "List", "index": 5},
    "object": {"label": "Object", "index": 6},
    "date": {"label": "Date", "index": 7},
    "encoding": {"label": "Encoding", "index": 8},
}
_MODULES = ("control", "logic", "text", "math", "list", "object", "date", "encoding")
_BUILTINS: dict[str, Modifier] = {}
_MISSING = object()


class Example(NamedTuple):
    """`value | modifier(params, **hash)` gives `result`. The examples are shown to people and run as tests."""

    value: Any
    params: list[Any]
    result: Any
    hash: dict[str, Any] = {}  # noqa: RUF012  (read-only)


@dataclass(frozen=True, slots=True)
class Argument:
    """`type` is a key of `convert.KINDS`; `named` ones are given by `hashParams`, the others by position."""

    name: str
    type: str
    description: str
    default: Any = _MISSING
    named: bool = False

    @property
    def required(self) -> bool:
        return self.default is _MISSING


class Bound(NamedTuple):
    """The arguments of one use of a modifier, checked: `params` by position, `hash` by name (helpers only)."""

    params: tuple[Any, ...]
    hash: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Modifier:
    """`input` is the kind of value it works on; None for a generator, which needs none.

    A built-in has a `function`, called as `function([call,] [value,] *arguments)`; a modifier
    written by an administrator has JavaScript `source` (engine.md §4: `helperFn`).
    """

    name: str
    label: str
    category: str
    description: str
    arguments: tuple[Argument, ...]
    returns: str
    input: str | None
    function: Callable[..., Any] | None = None
    contextual: bool = False
    variable_arguments: bool = False
    private: bool = False
    block: bool = False
    examples: tuple[Example, ...] = ()
    source: str | None = None
    helpers: Mapping[str, str] | None = None

    def bind(self, params: Sequence[Any], named: Mapping[str, Any]) -> Bound:
        """Check and convert the arguments. Raises StepError naming modifier, argument and the value's kind."""
        if self.source is not None:
            return Bound(tuple(params), dict(named))
        known = {argument.name for argument in self.arguments}
        if unknown := [key for key, value in named.items() if key not in known and value not in (None, "")]:
            names = ", ".join(sorted(known)) or "none"
            raise self.error(f'has no argument "{unknown[0]}"; it knows: {names}')
        by_position = iter(params)
        values = [
            self._argument(argument, _given(argument, named, by_position))
            for argument in sorted(self.arguments, key=lambda a: a.named)
        ]
        if self.variable_arguments:
            values.extend(by_position)
        return Bound(tuple(values), {})

    def _argument(self, argument: Argument, value: Any) -> Any:
        if value is _MISSING or (value == "" and argument.type not in ("string", "any")):
            if argument.required:
                raise self.error(f'argument "{argument.name}" is missing: {argument.description}')
            return argument.default
        try:
            return KINDS[argument.type](value)
        except Unfit as wrong:
            raise self.error(f'argument "{argument.name}" must be {wrong}, not {describe(value)}') from wrong

    def run(self, value: Any, bound: Bound, call: Call | None) -> Any:
        """Apply to one value. Raises StepError, never anything else."""
        if self.source is not None:
            return self._run_source(value, bound)
        assert self.function is not None
        arguments: tuple[Any, ...] = bound.params
        if self.input is not None:
            convert = KINDS[self.input]
            if convert is not any_value:
                try:
                    value = convert(value)
                except Unfit as wrong:
                    raise self.error(f"the value must be {wrong}, not {describe(value)}") from wrong
            arguments = (value, *arguments)
        try:
            return self.function(call, *arguments) if self.contextual else self.function(*arguments)
        except StepError as wrong:
            raise self.error(wrong.message) from wrong
        except Unfit as wrong:
            raise self.error(str(wrong)) from wrong
        except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as wrong:
            shown = ", ".join(describe(a) for a in bound.params)
            raise self.error(f"cannot work on {describe(value)}{f' with {shown}' if shown else ''}") from wrong

    def _run_source(self, value: Any, bound: Bound) -> Any:
        from engine.values.javascript import call_helper

        assert self.source is not None
        try:
            return call_helper(self.source, (value, *bound.params), bound.hash, self.helpers or {})
        except StepError as wrong:
            raise StepError(f"{self.name}: {wrong.message}", code=wrong.code, retryable=wrong.retry_hint) from wrong

    def error(self, text: str) -> StepError:
        return StepError(f"{self.name}: {text}", code="BAD_MODIFIER_INPUT", retryable=False)

    def to_json(self) -> dict[str, Any]:
        result: dict[str, Any] = {
            "name": self.name,
            "label": self.label,
            "category": [self.category],
            "description": self.description,
            "arguments": [_argument_json(argument) for argument in self.arguments],
            "returns": {"type": self.returns},
            "isBlock": self.block,
            "private": self.private,
            "variableArguments": self.variable_arguments,
        }
        if self.examples:
            result["examples"] = [example._asdict() for example in self.examples]
        return result | ({"helperFn": self.source} if self.source is not None else {})


def _given(argument: Argument, named: Mapping[str, Any], by_position: Iterator[Any]) -> Any:
    if argument.name in named:
        return named[argument.name]
    return next(by_position, _MISSING)


def _argument_json(argument: Argument) -> dict[str, Any]:
    return {
        "name": argument.name,
        "type": argument.type,
        "isHash": argument.named,
        "required": argument.required,
        "description": argument.description,
    }


def modifier(
    name: str, label: str, category: str, description: str, *arguments: Argument,
    returns: str, input: str | None = "any", contextual: bool = False, variable: bool = False,
    examples: Sequence[Example],
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:  # fmt: skip
    """Declare a built-in modifier; the function decorated stays as it is."""

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        _BUILTINS[name] = Modifier(
            name, label, category, description, arguments, returns, input, function,
            contextual=contextual, variable_arguments=variable, examples=tuple(examples),
        )  # fmt: skip
        return function

    return declare


class Registry:
    """One set of modifiers, by name. It does not change: a new set is a new registry."""

    def __init__(
        self, modifiers: Mapping[str, Modifier], categories: Mapping[str, Any], raw: Mapping[str, Any] | None = None
    ) -> None:
        self.modifiers = modifiers
        self.categories = categories
        self._raw = raw

    def get(self, name: str) -> Modifier | None:
        return self.modifiers.get(name)

    def to_json(self) -> dict[str, Any]:
        """{categories, modifiers}; an administrator's set comes back as it was put."""
        if self._raw is not None:
            return dict(self._raw)
        return {
            "categories": dict(self.categories),
            "modifiers": {name: one.to_json() for name, one in self.modifiers.items()},
        }


@cache
def builtin_registry() -> Registry:
    """Every modifier that comes with the product."""
    for module in _MODULES:
        import_module(f"engine.values.modifiers_{module}")
    order = {category: data["index"] for category, data in CATEGORIES.items()}
    modifiers = sorted(_BUILTINS.values(), key=lambda one: (order[one.category], one.label))
    return Registry({one.name: one for one in modifiers}, CATEGORIES)


def from_json(raw: Any) -> Registry:
    """The set of a PUT /modifiers, which replaces the built-in one as a whole.

    An entry with `helperFn` is run as JavaScript; one without must have a built-in's name and is
    that built-in, with the label, category and description given. Raises BadRequest; its `details`
    name every wrong place.
    """
    if not isinstance(raw, Mapping) or not isinstance(raw.get("modifiers"), Mapping):
        raise BadRequest('modifiers must be an object {"categories": {…}, "modifiers": {name: {…}}}')
    problems: list[dict[str, str]] = []
    categories = raw.get("categories")
    if categories is not None and not isinstance(categories, Mapping):
        problems.append({"path": "categories", "message": "must be an object"})
    entries = raw["modifiers"]
    sources = {
        name: entry["helperFn"]
        for name, entry in entries.items()
        if isinstance(entry, Mapping) and isinstance(entry.get("helperFn"), str)
    }
    modifiers = {}
    for name, entry in entries.items():
        if (one := _read_entry(name, entry, sources, problems)) is not None:
            modifiers[name] = one
    if problems:
        raise BadRequest(f"{problems[0]['path']}: {problems[0]['message']}", details=problems)
    return Registry(modifiers, categories or {}, raw)


def _read_entry(name: str, entry: Any, sources: Mapping[str, str], problems: list[dict[str, str]]) -> Modifier | None:
    path = f"modifiers.{name}"
    if not isinstance(entry, Mapping):
        problems.append({"path": path, "message": "must be an object"})
        return None
    builtin = builtin_registry().get(name)
    source = entry.get("helperFn")
    if source is not None and (not isinstance(source, str) or not source.strip()):
        problems.append({"path": f"{path}.helperFn", "message": "must be the source of a JavaScript function"})
        return None
    if source is None:
        if builtin is None:
            message = "is missing; give JavaScript source, or use the name of a built-in modifier"
            problems.append({"path": f"{path}.helperFn", "message": message})
        return builtin
    arguments = entry.get("arguments")
    if not isinstance(arguments, list):
        arguments = []
    return Modifier(
        name=name,
        label=_text(entry.get("label"), name),
        category=_category(entry.get("category")),
        description=_text(entry.get("description"), ""),
        arguments=tuple(_read_argument(one) for one in arguments if isinstance(one, Mapping)),
        returns="any",
        input="any",
        variable_arguments=entry.get("variableArguments") is True,
        private=entry.get("private") is True,
        block=entry.get("isBlock") is True,
        source=source,
        helpers=_used_helpers(source, sources),
    )


def _text(value: Any, default: str) -> str:
    return value if isinstance(value, str) and value else default


def _category(value: Any) -> str:
    names = [value] if isinstance(value, str) else value
    return next((one for one in names if isinstance(one, str)), "") if isinstance(names, list) else ""


def _read_argument(raw: Mapping[str, Any]) -> Argument:
    kind = raw.get("type")
    return Argument(
        name=_text(raw.get("name"), ""),
        type=kind if kind in KINDS else "any",
        description=_text(raw.get("description"), ""),
        default=None,
        named=raw.get("isHash") is True,
    )


def _used_helpers(source: str, sources: Mapping[str, str]) -> dict[str, str]:
    """The helpers a source may call, and those they may call: only these travel into the isolate."""
    found: dict[str, str] = {}
    waiting = [source]
    while waiting:
        text = waiting.pop()
        for name, other in sources.items():
            if name not in found and name in text:
                found[name] = other
                waiting.append(other)
    return found
