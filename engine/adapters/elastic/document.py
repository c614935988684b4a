"""A log record as a document of the search server, and back."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import orjson

from engine.adapters.elastic.words import marks_of, words_of
from engine.adapters.runlog.fields import FIELDS, as_text, with_times
from engine.ports import Doc

LONGEST_ID = 512
"""Bytes of a document's id."""

LONGEST_VALUE = 256
"""Characters of a value beyond the known fields that is searched."""

MOST_VALUES = 200
DEEPEST = 10

_FIELDS = frozenset(FIELDS)
_TEXTS = frozenset(("msg", "err"))


def document_id(record_id: str) -> str:
    if record_id and len(record_id.encode("utf-8", "replace")) <= LONGEST_ID:
        return record_id
    return "#" + hashlib.blake2b(record_id.encode("utf-8", "replace"), digest_size=20).hexdigest()


def action(record: Doc) -> bytes:
    """The two lines of a bulk request that store the record unless it is there already."""
    return b'{"create":{"_id":%b}}\n%b\n' % (orjson.dumps(document_id(record["id"])), orjson.dumps(source_of(record)))


def source_of(record: Doc) -> Doc:
    """Raises TypeError, AttributeError for a record that `mended` would change."""
    source: Doc = {}
    more: Doc = {}
    for key, value in record.items():
        if key not in _FIELDS or (value == "" and key not in _TEXTS):
            # an empty text among the sorted fields could not be told from none by search_after
            more[key] = value
        elif value is not None:
            source[key] = value
    search: Doc = {name: _searched(source[name]) for name in ("msg", "err") if name in source}
    if "componentType" in source:
        search["type"] = _words_of_type(source["componentType"])
    if more:
        source["more"] = more
        values = tokens_of(more)
        if values:
            search["more"] = values
    source["search"] = search
    return source


def _searched(text: str) -> str | list[str]:
    marks = marks_of(text)
    return [words_of(text), marks] if marks else words_of(text)  # a gap between two values stops phrases


_words_of_type = lru_cache(2048)(words_of)


def record_of(source: Doc) -> Doc:
    """The record that `source_of` was given."""
    source.pop("search", None)
    more = source.pop("more", None)
    return {**source, **more} if more else source


def hit_of(source: Doc, index: str) -> Doc:
    """Named by its month, whatever the indexes' prefix is (rest-api.md §7)."""
    return with_times(record_of(source), f"flow-{index.rpartition('-')[2]}")


# -- values beyond the known fields


def tokens_of(more: Doc) -> list[str]:
    """What is searched of them: `path` when there is a value, `path=text`, `path~number` (or a boolean), and
    `path#…`, which sorts as numbers do. Members of a list count as the list's, those of an object as both."""
    found: dict[str, None] = {}
    for token in _tokens("", more, DEEPEST):
        found[token] = None
        if len(found) >= MOST_VALUES:
            break
    return list(found)


def _tokens(path: str, value: Any, depth: int) -> Iterator[str]:
    if value is None or depth < 0:
        return
    if path:
        yield path
    if isinstance(value, dict):
        for key, member in value.items():
            inner = f"{path}.{key}" if path else str(key)
            yield from _tokens(inner, member, depth - 1)
            if path:
                yield from _scalar(path, member)
    elif isinstance(value, list):
        for member in value:
            yield from _scalar(path, member)
    else:
        yield from _scalar(path, value)


def _scalar(path: str, value: Any) -> Iterator[str]:
    if isinstance(value, bool):
        yield f"{path}~{'true' if value else 'false'}"
    elif isinstance(value, str):
        if len(value) <= LONGEST_VALUE:
            yield f"{path}={value}"
    elif isinstance(value, int | float):
        yield f"{path}~{value}"
        yield f"{path}#{sortable(value)}"


def sortable(number: float) -> str:
    """Texts in the order of the numbers."""
    (bits,) = struct.unpack(">Q", struct.pack(">d", number))
    return f"{bits ^ (0xFFFF_FFFF_FFFF_FFFF if bits >> 63 else 1 << 63):016x}"


# -- what cannot be stored as it is


def without_payload(record: Doc, reason: str) -> Doc:
    """What is left of a record that is refused even so: where it belongs, and why its contents are missing."""
    kept = {
        key: as_text(value)[:LONGEST_VALUE]
        for key, value in record.items()
        if key in _FIELDS and key not in ("created", "id") and value is not None
    }
    note = f"(the contents of this record could not be stored: {reason})"
    texts: Doc = {name: note for name in ("msg", "err") if name in kept or name == "msg"}
    return {**kept, "id": record["id"], "created": record["created"], **texts}
