"""What every adapter of Documents has in common: paths, values to compare with, regular expressions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import re2

from engine.errors import BadRequest
from engine.ports import Where

MAX_SEGMENTS = 12
MAX_NUMBERS = 3
INT64 = 2**63


def segments_of(path: str) -> tuple[str, ...]:
    """Raises BadRequest for a path that SQLite's JSON paths cannot express (it has no escapes)."""
    segments = tuple(path.split("."))
    if not all(segments) or any(char in '"\\' or char < " " for char in path) or not encodable(path):
        raise BadRequest(f"{path!r} is not a path: write names joined by dots, without quotes and backslashes")
    if len(segments) > MAX_SEGMENTS or sum(map(is_index, segments)) > MAX_NUMBERS:
        raise BadRequest(f"{path!r}: a path has at most {MAX_SEGMENTS} parts and {MAX_NUMBERS} numbers among them")
    return segments


def is_index(segment: str) -> bool:
    # at most nine digits: SQLite lets larger ones wrap round
    return segment.isascii() and segment.isdecimal() and len(segment) <= 9 and str(int(segment)) == segment


def check_scalar(path: str, value: Any) -> None:
    """Raises BadRequest for what cannot be compared: objects, lists, null, NaN."""
    if isinstance(value, bool | int) or (isinstance(value, str) and encodable(value)):
        return
    if isinstance(value, float) and value == value:  # not NaN
        return
    raise BadRequest(f"{path}: cannot compare with {value!r}; give a text, a number, true or false")


def check_text(where: Where) -> str:
    """The text of a condition that needs one. Raises BadRequest."""
    if not isinstance(where.value, str) or not encodable(where.value):
        raise BadRequest(f"{where.path}: {where.op!r} needs a text, not {where.value!r}")
    return where.value


def listed(where: Where) -> list[Any]:
    """The values of `in`. Raises BadRequest."""
    if isinstance(where.value, str) or not isinstance(where.value, Sequence | set | frozenset):
        raise BadRequest(f"{where.path}: {where.op!r} needs a list, not {where.value!r}")
    return list(where.value)


def encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def pattern_of(where: Where) -> str:
    """The regular expression of `regex` or `contains`. Raises BadRequest."""
    text = check_text(where)
    pattern: str = text if where.op == "regex" else re2.escape(text)
    try:
        _compiled(pattern)
    except re2.error as error:
        raise BadRequest(f"{where.path}: {text!r} is not a regular expression this product reads: {error}") from error
    return pattern


def text_matches(pattern: str, value: Any) -> bool:
    """RE2, because users write the patterns and its time is linear in the text."""
    return isinstance(value, str) and _compiled(pattern).search(value) is not None


def values_at(doc: dict[str, Any], segments: Sequence[str]) -> Iterator[Any]:
    """What a path finds in a document, the items of an array that stands there one by one."""
    for found in _places(doc, segments):
        if isinstance(found, list):
            yield from found
        else:
            yield found


def _places(doc: dict[str, Any], segments: Sequence[str]) -> Iterator[Any]:
    yield from _follow(doc, segments)
    for cut in range(1, len(segments)):
        if is_index(segments[cut]):
            continue
        for items in _follow(doc, segments[:cut]):
            for item in items if isinstance(items, list) else ():
                if isinstance(item, dict):
                    yield from _follow(item, segments[cut:])


def _follow(node: Any, segments: Sequence[str]) -> Iterator[Any]:
    for segment in segments:
        if isinstance(node, dict) and segment in node:
            node = node[segment]
        elif isinstance(node, list) and is_index(segment) and int(segment) < len(node):
            node = node[int(segment)]
        else:
            return
    yield node


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    return re2.compile(pattern, options)
