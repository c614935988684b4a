"""Lists. Nothing is an empty list, and text holding a JSON list counts as one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cmp_to_key
from itertools import chain
from typing import Any

from engine.values.convert import Unfit, fits, json_text, to_list, to_text
from engine.values.modifiers_logic import compare, is_blank, loosely_equal
from engine.values.paths import compile_path
from engine.values.registry import Argument, Example, modifier

_TEAS = [{"name": "green", "price": 3}, {"name": "black", "price": 2}]
_PATH = Argument("path", "string", "which part of each item to look at, such as customer.name; the item when empty")
_OPTIONAL_PATH = Argument(_PATH.name, _PATH.type, _PATH.description, default="")
_OPERATOR = Argument("operator", "string", "one of = != > >= < <= contains empty notEmpty", default="notEmpty")
_OPERAND = Argument("operand", "any", "the value to compare with", default=None)
MAX_ITEMS = 1_000_000


@modifier(
    "g_first", "First item", "list", "The first item of a list, or character of a text; nothing when there is none.",
    returns="any", examples=[Example([1, 2], [], 1), Example([], [], None), Example("tea", [], "t")],
)  # fmt: skip
def first(value: Any) -> Any:
    items = _items(value)
    return items[0] if items else None


@modifier(
    "g_last", "Last item", "list", "The last item of a list, or character of a text; nothing when there is none.",
    returns="any", examples=[Example([1, 2], [], 2), Example(None, [], None)],
)  # fmt: skip
def last(value: Any) -> Any:
    items = _items(value)
    return items[-1] if items else None


@modifier(
    "g_at", "Item at", "list", "The item at a position; nothing when there is none.",
    Argument("index", "integer", "position, from 0; negative counts from the end"),
    returns="any", examples=[Example(["a", "b"], [1], "b"), Example(["a", "b"], [-1], "b"), Example([], [3], None)],
)  # fmt: skip
def at(value: Any, index: int) -> Any:
    items = _items(value)
    return items[index] if -len(items) <= index < len(items) else None


def _items(value: Any) -> list[Any] | str:
    if isinstance(value, str) and not value.lstrip().startswith("["):
        return value
    try:
        return to_list(value)
    except Unfit:
        if isinstance(value, str):
            return value
        raise Unfit("the value must be a list or text") from None


@modifier(
    "g_length", "Length", "list", "How many items a list, fields an object, or characters a text has.",
    returns="number", examples=[Example([1, 2], [], 2), Example("tea", [], 3), Example(None, [], 0)],
)  # fmt: skip
def length(value: Any) -> int:
    if isinstance(value, list | dict):
        return len(value)
    return len(to_text(value))


@modifier(
    "g_join", "Join", "list", "The items of a list as one text.",
    Argument("separator", "string", "what to put between them", default=","),
    returns="string", input="array",
    examples=[Example(["a", 1, None], ["-"], "a-1-"), Example([], [], ""), Example('["a","b"]', [" "], "a b")],
)  # fmt: skip
def join(value: list[Any], separator: str) -> str:
    fits(len(value) * len(separator))
    return separator.join([to_text(item) for item in value])


@modifier(
    "g_map", "Map", "list", "One part of every item, as a list.", _PATH, returns="array", input="array",
    examples=[Example(_TEAS, ["name"], ["green", "black"]), Example([[1, 2]], ["[0]"], [1])],
)  # fmt: skip
def map_(value: list[Any], path: str) -> list[Any]:
    get = compile_path(path)
    return [get(item) for item in value]


def _holds(value: Any, operator: str, operand: Any) -> bool:
    match operator.strip():
        case "=" | "==":
            return loosely_equal(value, operand)
        case "!=":
            return not loosely_equal(value, operand)
        case "empty":
            return is_blank(value)
        case "notEmpty":
            return not is_blank(value)
        case "contains":
            if isinstance(value, list):
                return any(loosely_equal(item, operand) for item in value)
            return to_text(operand) in to_text(value)
        case ">" | ">=" | "<" | "<=" as sign:
            if value is None:
                return False
            order = compare(value, operand)
            return order == 0 if sign.endswith("=") and order == 0 else order > 0 if sign[0] == ">" else order < 0
    raise Unfit(f'argument "operator" must be one of = != > >= < <= contains empty notEmpty, not "{operator}"')


def _matching(items: list[Any], path: str, operator: str, operand: Any) -> Iterator[Any]:
    get = compile_path(path)
    return (item for item in items if _holds(get(item), operator, operand))


@modifier(
    "g_filter", "Filter", "list", "The items that fulfil a condition.", _PATH, _OPERATOR, _OPERAND,
    returns="array", input="array",
    examples=[Example(_TEAS, ["price", ">", 2], [_TEAS[0]]), Example(["a", "", None], [""], ["a"])],
)  # fmt: skip
def filter_(value: list[Any], path: str, operator: str, operand: Any) -> list[Any]:
    return list(_matching(value, path, operator, operand))


@modifier(
    "g_find", "Find", "list", "The first item that fulfils a condition; nothing when none does.",
    _PATH, _OPERATOR, _OPERAND, returns="any", input="array",
    examples=[Example(_TEAS, ["name", "=", "black"], _TEAS[1]), Example(_TEAS, ["price", ">", 9], None)],
)  # fmt: skip
def find(value: list[Any], path: str, operator: str, operand: Any) -> Any:
    return next(_matching(value, path, operator, operand), None)


@modifier(
    "g_sort", "Sort", "list", "The items in order: numbers, dates or text; what is nothing comes last.",
    _OPTIONAL_PATH, Argument("order", "string", "asc or desc", default="asc"), returns="array", input="array",
    examples=[Example([3, "1", 2], [], ["1", 2, 3]), Example(_TEAS, ["name", "desc"], _TEAS)],
)  # fmt: skip
def sort(value: list[Any], path: str, order: str) -> list[Any]:
    if order.lower() not in ("asc", "desc", ""):
        raise Unfit(f'argument "order" must be asc or desc, not "{order}"')
    get = compile_path(path)
    known = [item for item in value if get(item) is not None]
    known.sort(key=cmp_to_key(lambda a, b: compare(get(a), get(b))), reverse=order.lower() == "desc")
    return known + [item for item in value if get(item) is None]


@modifier(
    "g_reverse", "Reverse", "list", "The items, or the characters of a text, in reverse order.", returns="any",
    examples=[Example([1, 2], [], [2, 1]), Example("tea", [], "aet")],
)  # fmt: skip
def reverse(value: Any) -> Any:
    return _items(value)[::-1]


@modifier(
    "g_unique", "Without repetition", "list", "The items without those that came before.", _OPTIONAL_PATH,
    returns="array", input="array",
    examples=[Example([1, 2, 1], [], [1, 2]), Example([{"a": 1}, {"a": 1, "b": 2}], ["a"], [{"a": 1}])],
)  # fmt: skip
def unique(value: list[Any], path: str) -> list[Any]:
    get = compile_path(path)
    found: dict[str, Any] = {}
    for item in value:
        found.setdefault(json_text(get(item)), item)
    return list(found.values())


@modifier(
    "g_slice", "Part of list", "list", "The items from one position up to, not including, another.",
    Argument("start", "integer", "position of the first item, from 0; negative counts from the end", default=0),
    Argument("end", "integer", "position after the last one; to the end when left out", default=None),
    returns="array", input="array", examples=[Example([1, 2, 3], [1], [2, 3]), Example([1, 2, 3], [0, -1], [1, 2])],
)  # fmt: skip
def slice_(value: list[Any], start: int, end: int | None) -> list[Any]:
    return value[start:end]


@modifier(
    "g_flatten", "Flatten", "list", "A list of lists as one list.", returns="array", input="array",
    examples=[Example([[1], [2, [3]], 4], [], [1, 2, [3], 4]), Example([], [], [])],
)  # fmt: skip
def flatten(value: list[Any]) -> list[Any]:
    return list(chain.from_iterable(item if isinstance(item, list) else (item,) for item in value))


@modifier(
    "g_compact", "Without empty items", "list", "The items that are not nothing, empty text, list or object.",
    returns="array", input="array", examples=[Example([1, None, "", 0], [], [1, 0]), Example([[]], [], [])],
)  # fmt: skip
def compact(value: list[Any]) -> list[Any]:
    return [item for item in value if not is_blank(item)]


@modifier(
    "g_push", "Add item", "list", "The list with one more item at its end.", Argument("item", "any", "the new item"),
    returns="array", input="array", examples=[Example([1], [2], [1, 2]), Example(None, ["a"], ["a"])],
)  # fmt: skip
def push(value: list[Any], item: Any) -> list[Any]:
    return [*value, item]


@modifier(
    "g_concat", "Concatenate", "list", "Two lists as one.",
    Argument("other", "array", "the second list, or JSON text of one"),
    returns="array", input="array", examples=[Example([1], [[2, 3]], [1, 2, 3]), Example([1], ["[2]"], [1, 2])],
)  # fmt: skip
def concat(value: list[Any], other: list[Any]) -> list[Any]:
    return [*value, *other]


@modifier(
    "g_chunk", "Cut into lists", "list", "The list cut into lists of a greatest length.",
    Argument("size", "integer", "how many items each may have"),
    returns="array", input="array", examples=[Example([1, 2, 3], [2], [[1, 2], [3]]), Example([], [2], [])],
)  # fmt: skip
def chunk(value: list[Any], size: int) -> list[Any]:
    if size < 1:
        raise Unfit('argument "size" must be 1 or more')
    return [value[start : start + size] for start in range(0, len(value), size)]


@modifier(
    "g_groupBy", "Group", "list", "The items as an object of lists, by one part of them.", _PATH,
    returns="object", input="array",
    examples=[Example([{"a": 1}, {"a": 2}], ["a"], {"1": [{"a": 1}], "2": [{"a": 2}]}), Example([], ["a"], {})],
)  # fmt: skip
def group_by(value: list[Any], path: str) -> dict[str, list[Any]]:
    get = compile_path(path)
    groups: dict[str, list[Any]] = {}
    for item in value:
        groups.setdefault(to_text(get(item)), []).append(item)
    return groups


@modifier(
    "g_range", "Numbers from to", "list", "The whole numbers from one up to another, both included.",
    Argument("from", "integer", "the first number"), Argument("to", "integer", "the last number"),
    returns="array", input=None, examples=[Example(None, [1, 3], [1, 2, 3]), Example(None, [2, 1], [])],
)  # fmt: skip
def range_(start: int, end: int) -> list[int]:
    if end - start >= MAX_ITEMS:
        raise Unfit(f"result would have more than {MAX_ITEMS} items")
    return list(range(start, end + 1))
