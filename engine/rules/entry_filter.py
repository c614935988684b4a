"""Filters on stored entries: the part of Mongo's query language that `Stores.find` takes (engine.md §3).

A query is {path: value}, {path: {operator: operand, …}} or {"$and" | "$or": [query, …]}; all
members must hold. A condition on an array holds when it holds for the array or for one element.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import re2

from engine.errors import BadRequest

Predicate = Callable[[Any], bool]
_compile: Callable[..., Any] = re2.compile

MAX_DEPTH = 20
MAX_PATTERN = 1000
REGEX_FLAGS = "ims"
KNOWN = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$regex", "$exists", "$and", "$or")


def compile_filter(query: Any) -> Predicate:
    """A function of an entry. Raises BadRequest naming an operator that is unknown or misused."""
    return _all(_conditions(query, 0))


def equalities(query: Mapping[str, Any]) -> dict[str, str | int | float]:
    """The paths that must equal a text or number for `query` to hold: what a database can look up first."""
    found: dict[str, str | int | float] = {}
    for path, wanted in query.items():
        if isinstance(wanted, Mapping):
            wanted = wanted.get("$eq")
        if not path.startswith("$") and isinstance(wanted, str | int | float) and not isinstance(wanted, bool):
            found[path] = wanted
    return found


def _conditions(query: Any, depth: int) -> list[Predicate]:
    if not isinstance(query, Mapping):
        raise BadRequest(f"a query must be an object, not {_kind(query)}")
    if depth > MAX_DEPTH:
        raise BadRequest(f"a query may nest $and and $or {MAX_DEPTH} deep")
    result: list[Predicate] = []
    for name, wanted in query.items():
        if name in ("$and", "$or"):
            if not isinstance(wanted, list) or not wanted:
                raise BadRequest(f"{name} needs a list of at least one query")
            parts = [_all(_conditions(part, depth + 1)) for part in wanted]
            result.append(_all(parts) if name == "$and" else _any(parts))
        elif name.startswith("$"):
            raise _unknown(name)
        else:
            result.extend(_on_path(name, wanted))
    return result


def _on_path(path: str, wanted: Any) -> list[Predicate]:
    operators = isinstance(wanted, Mapping) and any(key.startswith("$") for key in wanted)
    given = wanted if operators else {"$eq": wanted}
    parts = path.split(".")
    result = []
    for operator, operand in given.items():
        if operator == "$options" and "$regex" in given:
            continue
        result.append(_operation(path, parts, operator, operand, given))
    return result


def _operation(path: str, parts: list[str], operator: str, operand: Any, given: Mapping[str, Any]) -> Predicate:
    if operator == "$exists":
        return lambda entry: any(True for _ in _reach(entry, parts)) == bool(operand)
    test = _test(path, operator, operand, given)
    # "not equal" and "none of" speak about the whole array, everything else about one of its elements
    if operator in ("$ne", "$nin"):
        return lambda entry: not any(test(value) for value in _candidates(entry, parts))
    return lambda entry: any(test(value) for value in _candidates(entry, parts))


def _test(path: str, operator: str, operand: Any, given: Mapping[str, Any]) -> Predicate:
    """Of one value; `$ne` and `$nin` give the test that must not hold."""
    if operator in ("$eq", "$ne"):
        return lambda value: _equal(value, operand)
    if operator in ("$in", "$nin"):
        if not isinstance(operand, list):
            raise BadRequest(f"{path}: {operator} needs a list, not {_kind(operand)}")
        return lambda value: any(_equal(value, one) for one in operand)
    if operator == "$regex":
        pattern = _regex(path, operand, given.get("$options", ""))
        return lambda value: isinstance(value, str) and pattern.search(value) is not None
    if operator == "$gt":
        return lambda value: _comparable(value, operand) and value > operand
    if operator == "$gte":
        return lambda value: _comparable(value, operand) and value >= operand
    if operator == "$lt":
        return lambda value: _comparable(value, operand) and value < operand
    if operator == "$lte":
        return lambda value: _comparable(value, operand) and value <= operand
    raise _unknown(operator)


def _regex(path: str, pattern: Any, flags: Any) -> Any:
    """Compiled by RE2: users write these, and its time is linear in the text."""
    if not isinstance(pattern, str) or len(pattern) > MAX_PATTERN:
        raise BadRequest(f"{path}: $regex needs a text of at most {MAX_PATTERN} characters")
    if not isinstance(flags, str) or set(flags) - set(REGEX_FLAGS):
        raise BadRequest(f"{path}: $options may hold the letters {', '.join(REGEX_FLAGS)}, not {flags!r}")
    options = re2.Options()
    options.log_errors = False
    try:
        return _compile(f"(?{flags}){pattern}" if flags else pattern, options)
    except re2.error as error:
        reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else error
        raise BadRequest(f"{path}: {pattern!r} is not a regular expression: {reason}") from error
    except UnicodeEncodeError as error:
        raise BadRequest(f"{path}: $regex holds half of a surrogate pair") from error


def _reach(value: Any, parts: list[str]) -> Iterator[Any]:
    """Every value the path leads to; on its way it passes into the elements of arrays."""
    if not parts:
        yield value
        return
    head, rest = parts[0], parts[1:]
    if isinstance(value, Mapping):
        if head in value:
            yield from _reach(value[head], rest)
    elif isinstance(value, list):
        if head.isdecimal() and int(head) < len(value):
            yield from _reach(value[int(head)], rest)
        for element in value:
            if isinstance(element, Mapping):
                yield from _reach(element, parts)


def _candidates(entry: Any, parts: list[str]) -> Iterator[Any]:
    missing = True
    for value in _reach(entry, parts):
        missing = False
        yield value
        if isinstance(value, list):
            yield from value
    if missing:
        yield None


def _equal(value: Any, wanted: Any) -> bool:
    return isinstance(value, bool) == isinstance(wanted, bool) and bool(value == wanted)


def _comparable(value: Any, operand: Any) -> bool:
    for kind in (str, int | float):
        if isinstance(value, kind) and isinstance(operand, kind):
            return isinstance(value, bool) == isinstance(operand, bool)
    return False


def _all(parts: list[Predicate]) -> Predicate:
    return lambda entry: all(part(entry) for part in parts)


def _any(parts: list[Predicate]) -> Predicate:
    return lambda entry: any(part(entry) for part in parts)


def _unknown(operator: str) -> BadRequest:
    return BadRequest(f"unknown operator {operator} in a query; known are {', '.join(KNOWN)}")


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__
