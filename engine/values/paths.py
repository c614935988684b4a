"""Paths into JSON values: the dotted ones of variables and out-port options, and JSONPath queries.

Dotted: `data.lines`, `a.[0].b`, `a[0].b`, `a['b']`, `[main.temp]` (one key with a dot in it),
`[0].name`, `0.id`. A whole number picks from a list, or is a key of an object. A path that
leads nowhere gives None. When it does, the text as a whole is tried as one key, because
components do emit keys with dots and brackets in them (engine.md §2).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from engine.errors import StepError

LONGEST_QUERY = 2_000

Getter = Callable[[Any], Any]

# nothing here can match a run of blanks in several ways: paths come with messages, too
_PIECE = re.compile(r"""\[(?:\s*'([^']*)'\s*|\s*"([^"]*)"\s*|([^\[\]]*))\]|([^.\[\]]+)|(\.)""")
_PLAIN_QUERY = re.compile(r"\$(?:\.?\[\d+\]|\.\w+|\['[^'\]]*'\])*")
_NEEDS_JSONPATH = re.compile(r"""\*|\.\.|\[\s*\?|\[[^\]'"]*[:,]""")


def split_path(path: str) -> tuple[str, ...]:
    """The keys of a dotted path: `a.[0]['b.c']` → ("a", "0", "b.c"). One with stray brackets is one key."""
    keys = []
    end = 0
    for match in _PIECE.finditer(path):
        if match.start() != end:
            return (path,)
        end = match.end()
        if match[5] is None:
            single, double, bare, plain, _ = match.groups()
            keys.append(bare.strip() if bare is not None else next(t for t in (single, double, plain) if t is not None))
    return tuple(keys) if end == len(path) else (path,)


@lru_cache(maxsize=16_384)
def compile_path(path: str) -> Getter:
    """A function from a value to what lies at `path`, None when nothing does. Equal paths share one function."""
    keys = split_path(path)
    if not keys:
        return _itself
    if keys == (path,) and _index(path) is None:
        return _one_key(path)
    steps = tuple((key, _index(key)) for key in keys)

    def get(value: Any) -> Any:
        found = value
        for key, index in steps:
            if isinstance(found, dict):
                found = found.get(key)
            elif index is not None and isinstance(found, list):
                found = found[index] if -len(found) <= index < len(found) else None
            else:
                found = None
            if found is None:
                return value.get(path) if isinstance(value, dict) else None
        return found

    return get


def _itself(value: Any) -> Any:
    return value


def _one_key(key: str) -> Getter:
    def get(value: Any) -> Any:
        return value.get(key) if isinstance(value, dict) else None

    return get


def _index(key: str) -> int | None:
    return int(key) if re.fullmatch(r"-?[0-9]{1,9}", key) else None


@lru_cache(maxsize=1024)
def compile_query(query: str) -> Getter:
    """`g_jsonPath`: a dotted path, or JSONPath when the text starts with `$` or has `*`, `..`, `?` or a slice.

    A query that can find one place only gives what is there, or None; any other gives the list
    of what it finds. Raises StepError when the query cannot be read.
    """
    query = query.strip()
    if len(query) > LONGEST_QUERY:
        raise StepError(f"a path of {len(query)} characters is too long; {LONGEST_QUERY} are the most", retryable=False)
    if _PLAIN_QUERY.fullmatch(query):
        return compile_path(query[1:])
    if query.startswith("$") or _NEEDS_JSONPATH.search(query):
        return _compile_jsonpath(query)
    return compile_path(query)


@lru_cache(maxsize=1)
def _environment() -> Any:
    """Imported late: few flows need it. Regular expressions are left out, a hostile one would never return."""
    from jsonpath import JSONPathEnvironment

    class Environment(JSONPathEnvironment):
        def compare(self, left: object, operator: str, right: object) -> bool:
            if operator == "=~":
                raise StepError("JSONPath: regular expressions (=~) are not supported; use g_filter", retryable=False)
            return super().compare(left, operator, right)

    environment = Environment()
    for name in ("match", "search"):
        del environment.function_extensions[name]
    return environment


def _compile_jsonpath(query: str) -> Getter:
    from jsonpath import JSONPath
    from jsonpath.exceptions import JSONPathError

    text = query if query.startswith("$") else f"${query}" if query[0] == "[" else f"$.{query}"
    try:
        compiled = _environment().compile(text)
    except (JSONPathError, ValueError, RecursionError, re.error) as error:
        raise StepError(f'"{query}" is not a JSONPath: {_first_line(error)}', retryable=False) from error
    single = isinstance(compiled, JSONPath) and compiled.singular_query()

    def find(value: Any) -> Any:
        if not isinstance(value, dict | list):
            return None if single else []
        try:
            found = compiled.findall(value)
        except (JSONPathError, RecursionError, TypeError, ValueError) as error:
            raise StepError(f'JSONPath "{query}" fails here: {_first_line(error)}', retryable=False) from error
        return (found[0] if found else None) if single else list(found)

    return find


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "nested too deep")
