"""Objects: picking out of them, and JSON text."""

from __future__ import annotations

from typing import Any

import orjson

from engine.values.convert import Unfit, describe, fits, json_text, to_number, to_text
from engine.values.paths import compile_path, compile_query
from engine.values.registry import Argument, Example, modifier

_ORDER = {"name": "tea", "price": 3}
_NAMES = Argument("names", "string", "names of the fields, separated by commas")


@modifier(
    "g_jsonPath", "JSON path", "object", "What lies at a path in an object or list.",
    Argument("path", "string", "such as customer.name, [0].id, $..price or $.items[?(@.price > 10)]"),
    returns="any",
    examples=[
        Example({"a": {"b": 1}}, ["a.b"], 1),
        Example([{"name": "x"}], ["[0].name"], "x"),
        Example([{"id": 1}], ["$[0].id"], 1),
        Example({"a": [{"p": 1}, {"p": 2}]}, ["$..p"], [1, 2]),
        Example([{"id": 7}], ["0.id"], 7),
    ],
)  # fmt: skip
def json_path(value: Any, path: str) -> Any:
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        value = parse(value)
    return compile_query(path)(value)


@modifier(
    "g_get", "Get field", "object", "One field of an object, by its exact name.",
    Argument("name", "string", "name of the field; dots and brackets in it have no meaning"),
    Argument("fallback", "any", "what to give when there is no such field", default=None),
    returns="any", input="object",
    examples=[Example({"a.b": 1}, ["a.b"], 1), Example({}, ["a", "none"], "none")],
)  # fmt: skip
def get(value: dict[str, Any], name: str, fallback: Any) -> Any:
    found = value.get(name)
    return fallback if found is None else found


@modifier(
    "g_has", "Has field", "object", "Whether there is something at a path.",
    Argument("path", "string", "such as customer.name"),
    returns="boolean", examples=[Example({"a": {"b": 0}}, ["a.b"], True), Example({}, ["a"], False)],
)  # fmt: skip
def has(value: Any, path: str) -> bool:
    return compile_path(path)(value) is not None


@modifier(
    "g_keys", "Field names", "object", "The names of an object's fields.", returns="array", input="object",
    examples=[Example(_ORDER, [], ["name", "price"]), Example(None, [], [])],
)  # fmt: skip
def keys(value: dict[str, Any]) -> list[str]:
    return list(value)


@modifier(
    "g_values", "Field values", "object", "The values of an object's fields.", returns="array", input="object",
    examples=[Example(_ORDER, [], ["tea", 3]), Example({}, [], [])],
)  # fmt: skip
def values(value: dict[str, Any]) -> list[Any]:
    return list(value.values())


@modifier(
    "g_entries", "Entries", "object", "An object as a list of {key, value}.", returns="array", input="object",
    examples=[Example({"a": 1}, [], [{"key": "a", "value": 1}]), Example({}, [], [])],
)  # fmt: skip
def entries(value: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": item} for key, item in value.items()]


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


@modifier(
    "g_pick", "Keep fields", "object", "The object with only some of its fields.", _NAMES, returns="object",
    input="object", examples=[Example(_ORDER, ["name"], {"name": "tea"}), Example(_ORDER, ["a, price"], {"price": 3})],
)  # fmt: skip
def pick(value: dict[str, Any], names: str) -> dict[str, Any]:
    return {name: value[name] for name in _names(names) if name in value}


@modifier(
    "g_omit", "Leave out fields", "object", "The object without some of its fields.", _NAMES, returns="object",
    input="object", examples=[Example(_ORDER, ["name"], {"price": 3}), Example(_ORDER, ["a"], _ORDER)],
)  # fmt: skip
def omit(value: dict[str, Any], names: str) -> dict[str, Any]:
    unwanted = set(_names(names))
    return {key: item for key, item in value.items() if key not in unwanted}


@modifier(
    "g_set", "Set field", "object", "The object with one field set.",
    Argument("name", "string", "name of the field"),
    Argument("value", "any", "its value", default=None),
    returns="object", input="object",
    examples=[Example({"a": 1}, ["b", 2], {"a": 1, "b": 2}), Example(None, ["a", "x"], {"a": "x"})],
)  # fmt: skip
def set_(value: dict[str, Any], name: str, new: Any) -> dict[str, Any]:
    return {**value, name: new}


@modifier(
    "g_merge", "Merge", "object", "Two objects as one; a field of the second replaces the first one's.",
    Argument("other", "object", "the second object, or JSON text of one"),
    returns="object", input="object",
    examples=[Example({"a": 1, "b": 1}, [{"b": 2}], {"a": 1, "b": 2}), Example({}, ['{"a":1}'], {"a": 1})],
)  # fmt: skip
def merge(value: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {**value, **other}


@modifier(
    "g_parse", "Parse JSON", "object", "JSON text as a value.", returns="any",
    examples=[Example('{"a":[1]}', [], {"a": [1]}), Example({"a": 1}, [], {"a": 1}), Example("", [], None)],
)  # fmt: skip
def parse(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        return orjson.loads(value)
    except (orjson.JSONDecodeError, UnicodeEncodeError) as error:
        raise Unfit(f"the value must be JSON text, but {describe(value)} is not: {error}") from error


@modifier(
    "g_stringify", "To JSON text", "object", "The value as JSON text.",
    Argument("space", "any", "indent by this many spaces, or by this text", default=None, named=True),
    returns="string",
    examples=[
        Example({"a": [1, 2.0]}, [], '{"a":[1,2]}'),
        Example({"a": 1}, [], '{\n  "a": 1\n}', {"space": 2}),
        Example("x", [], '"x"'),
    ],
)  # fmt: skip
def stringify(value: Any, space: Any) -> str:
    indent = _indent(space)
    if not indent:
        return json_text(value)
    text = json_text(value, indent=True)
    if indent == "  ":
        return text
    lines = text.split("\n")
    fits(len(text) + len(lines) * len(indent))
    result = []
    for line in lines:
        bare = line.lstrip(" ")
        result.append(indent * ((len(line) - len(bare)) // 2) + bare)
    return "\n".join(result)


def _indent(space: Any) -> str:
    """As JavaScript's JSON.stringify: at most ten spaces or characters."""
    try:
        return " " * max(0, min(10, int(to_number(space))))
    except (Unfit, OverflowError):
        return to_text(space)[:10]
