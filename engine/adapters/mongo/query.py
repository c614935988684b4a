"""Compiles `ports.Query` to filters of MongoDB.

MongoDB's own dotted paths go through any number of arrays, and do not look into an array that a number
leads to. Ours pass one array at most. So a path of one or two names without numbers is written as MongoDB
does; a longer one is written so, too (it finds too much, but may use an index) together with an exact
expression over the document; one with numbers as the expression alone.

Paths of declared indexes hold one value, never an array (engine/model/collections.py).

Regular expressions of users are RE2's, which MongoDB does not have; its own ones may take for ever.
`slow` conditions are therefore tested here, over the values of those documents that the other
conditions leave, and become a list of ids.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from pymongo.collection import Collection

from engine.adapters import conditions
from engine.adapters.mongo import encoding
from engine.ports import Doc, Query, Where

Filter = dict[str, Any]
Test = tuple[Filter, Callable[[str], Any]]
"""A condition on a field, and the same as an expression over a variable that holds one value."""

_PRESENT: Filter = {"$type": ["number", "string", "bool", "object", "array"]}
_LONGEST_TEXT = 8_000
"""Characters. The server takes patterns of 32 KB, and every character may need four bytes."""


def matching(
    collection: Collection[Doc],
    where: Sequence[Where],
    any_of: Sequence[Where] = (),
    indexed: frozenset[str] = frozenset(),
) -> Filter:
    """The filter. Asks the collection when there are slow conditions. Raises BadRequest naming the path."""
    fast = [_condition(item, indexed) for item in where if not _is_slow(item)]
    slow = [item for item in (*where, *any_of) if _is_slow(item)]
    found = _ids(collection, _all(fast), slow) if slow else {}

    def compiled(item: Where) -> Filter:
        return {"_id": {"$in": found[item]}} if _is_slow(item) else _condition(item, indexed)

    parts = fast + [compiled(item) for item in where if _is_slow(item)]
    if any_of:
        parts.append({"$or": [compiled(item) for item in any_of]})
    return _all(parts)


def _all(parts: list[Filter]) -> Filter:
    if len(parts) > 1:
        return {"$and": parts}
    return parts[0] if parts else {}


def order(query: Query) -> list[tuple[str, int]]:
    """Of a sorted query; ties by id. Raises BadRequest."""
    keys: dict[str, int] = {}
    for path, direction in query.sort:
        keys.setdefault(_field(conditions.segments_of(path)), 1 if direction > 0 else -1)
    if keys:
        keys.setdefault("_id", 1)
    return list(keys.items())


def projection(query: Query) -> Filter | None:
    """None for whole documents, also where a name has a dot: MongoDB would take it for a path."""
    names = query.include or query.exclude
    if not names or any("." in name or not name for name in names):
        return None
    chosen = {encoding.name(name): 1 if query.include else 0 for name in names if name != "_id"}
    if query.include:
        chosen |= {"_id": 1, encoding.MARK: 1}
    return chosen or None


def project(doc: Doc, query: Query) -> Doc:
    """The rest of what `projection` could not say."""
    if query.include:
        return {key: value for key, value in doc.items() if key == "_id" or key in query.include}
    if query.exclude:
        return {key: value for key, value in doc.items() if key == "_id" or key not in query.exclude}
    return doc


# -- slow conditions


def _is_slow(where: Where) -> bool:
    return where.op == "regex" or (where.op in _TEXT_TESTS and len(str(where.value)) > _LONGEST_TEXT)


def _ids(collection: Collection[Doc], candidates: Filter, slow: Sequence[Where]) -> dict[Where, list[str]]:
    """Which documents fulfil each of the conditions."""
    tests = [(item, _slow_test(item), conditions.segments_of(item.path)) for item in slow]
    found: dict[Where, list[str]] = {item: [] for item in slow}
    fields = {encoding.name(segments[0]): 1 for _, _, segments in tests} | {"_id": 1, encoding.MARK: 1}
    for stored in collection.find(candidates, fields):
        doc = encoding.decode(stored)
        for item, passes, segments in tests:
            if any(isinstance(value, str) and passes(value) for value in conditions.values_at(doc, segments)):
                found[item].append(doc["_id"])
    return found


def _slow_test(where: Where) -> Callable[[str], bool]:
    if where.op in ("starts", "ends"):
        text = conditions.check_text(where)
        return lambda value: value.startswith(text) if where.op == "starts" else value.endswith(text)
    pattern = conditions.pattern_of(where)
    return lambda value: conditions.text_matches(pattern, value)


# -- one condition


def _condition(where: Where, indexed: frozenset[str]) -> Filter:
    segments = conditions.segments_of(where.path)
    plain = where.path in indexed or where.path == "_id"
    if where.op in ("ne", "nin"):
        positive = Where(where.path, "eq" if where.op == "ne" else "in", where.value)
        return {"$nor": [_condition(positive, indexed)]}
    if where.op == "exists":
        return _present(segments) if where.value else _absent(segments, plain)
    if where.op == "eq" and where.value is None:
        return _absent(segments, plain)
    if where.op != "in":
        return _holds(segments, _test(where), plain)
    wanted = conditions.listed(where)
    known = _holds(segments, _one_of(where.path, [value for value in wanted if value is not None]), plain)
    return {"$or": [known, _absent(segments, plain)]} if None in wanted else known


def _holds(segments: Sequence[str], test: Test, plain: bool) -> Filter:
    native, expression = test
    if plain or _is_native(segments):
        return {_field(segments): native}
    exact = _anywhere(segments, lambda place: _passes(place, expression))
    if any(map(conditions.is_index, segments)):
        return exact
    return {"$and": [{_field(segments): native}, exact]}


def _present(segments: Sequence[str]) -> Filter:
    """Something other than null stands there."""
    if _is_native(segments):
        return {_field(segments): _PRESENT}
    return _anywhere(segments, lambda place: {"$gt": [place, None]})


def _absent(segments: Sequence[str], plain: bool) -> Filter:
    return {_field(segments): None} if plain else {"$nor": [_present(segments)]}


def _is_native(segments: Sequence[str]) -> bool:
    return len(segments) == 1 or (len(segments) == 2 and not any(map(conditions.is_index, segments)))


def _field(segments: Sequence[str]) -> str:
    return ".".join(map(encoding.name, segments))


# -- places, as expressions


def _anywhere(segments: Sequence[str], leaf: Callable[[Any], Any]) -> Filter:
    """`leaf` holds of a place that the path finds, at most one array being passed without a number."""
    found = [leaf(_follow("$$ROOT", segments))]
    for cut in range(1, len(segments)):
        if not conditions.is_index(segments[cut]):
            items = _follow("$$ROOT", segments[:cut])
            found.append(_one_holds(items, "item", leaf(_follow("$$item", segments[cut:])), otherwise=[]))
    return {"$expr": {"$or": found}}


def _passes(place: Any, test: Callable[[str], Any]) -> Any:
    """The value that stands there passes, or one of the items when it is an array."""
    return _one_holds(place, "value", test("$$value"), otherwise=["$$items"])


def _one_holds(items: Any, name: str, condition: Any, *, otherwise: Any) -> Any:
    """`condition` holds of an item of an array; of `otherwise` when it is none."""
    array = {"$cond": [{"$isArray": ["$$items"]}, "$$items", otherwise]}
    each = {"$anyElementTrue": [{"$map": {"input": array, "as": name, "in": condition}}]}
    return {"$let": {"vars": {"items": items}, "in": each}}


def _follow(node: Any, segments: Sequence[str]) -> Any:
    for segment in segments:
        key = {"$getField": {"field": {"$literal": encoding.name(segment)}, "input": "$$node"}}
        step = {"$cond": [{"$eq": [{"$type": "$$node"}, "object"]}, key, "$$REMOVE"]}
        if conditions.is_index(segment):
            item = {"$arrayElemAt": ["$$node", int(segment)]}
            step = {"$cond": [{"$isArray": ["$$node"]}, item, step]}
        node = {"$let": {"vars": {"node": node}, "in": step}}
    return node


# -- tests of one value


def _test(where: Where) -> Test:
    if where.op in _TEXT_TESTS:
        return _matches(*_TEXT_TESTS[where.op](_escaped(conditions.check_text(where))))
    bound = _bound(where.path, where.value)
    operator = f"${where.op}"
    if where.op == "eq":
        return {operator: bound}, lambda value: {operator: [value, {"$literal": bound}]}
    kind = _kind(bound)
    return {operator: bound}, lambda value: {"$and": [kind(value), {operator: [value, {"$literal": bound}]}]}


def _one_of(path: str, wanted: Sequence[Any]) -> Test:
    bounds = [_bound(path, value) for value in wanted]
    return {"$in": bounds}, lambda value: {"$in": [value, {"$literal": bounds}]}


def _matches(pattern: str, options: str) -> Test:
    def expression(value: str) -> Any:
        match = {"$regexMatch": {"input": value, "regex": {"$literal": pattern}, "options": options}}
        return {"$cond": [{"$eq": [{"$type": value}, "string"]}, match, False]}

    return {"$regex": pattern, "$options": options}, expression


def _kind(bound: Any) -> Callable[[str], Any]:
    """Whether a value has the type of a bound: expressions compare across types."""
    if isinstance(bound, bool):
        return lambda value: {"$eq": [{"$type": value}, "bool"]}
    if isinstance(bound, str):
        return lambda value: {"$eq": [{"$type": value}, "string"]}
    return lambda value: {"$isNumber": value}


def _bound(path: str, value: Any) -> Any:
    conditions.check_scalar(path, value)
    return encoding.number(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _escaped(text: str) -> str:
    return re.escape(text).replace("\0", r"\x00")  # a pattern on its way ends at a NUL


_TEXT_TESTS: dict[str, Callable[[str], tuple[str, str]]] = {
    "starts": lambda escaped: (f"^{escaped}", ""),
    "ends": lambda escaped: (rf"{escaped}\z", ""),
    "contains": lambda escaped: (escaped, "i"),
}
"""Pattern and options; an index answers the first."""
