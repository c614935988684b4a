"""JSON documents as BSON, so that each comes back as it was.

What BSON or MongoDB cannot hold is stored in another form:

- a key that begins with "$" or has a NUL in it: escaped. "$" is for operators, and the driver reads
  `{"$ref": …}` as a type of its own
- whole numbers from 2^63 on: as Decimal128, which compares with other numbers exactly
- what is nested deeper than `DEEPEST`: as JSON text. No query reaches that far

A document with escaped keys or folded parts has a mark, so that reading costs the others nothing. The
mark and the escapes begin with a private character; a key that begins with it is escaped, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import bson
import orjson
from bson import Decimal128

from engine.errors import BadRequest, TooLarge
from engine.ports import Doc

ESCAPE = "\ue000"
MARK = ESCAPE
"""At the top of a document: it has something in another form. Inside: the key of folded JSON text."""

DEEPEST = 90
MAX_BYTES = 16 * 1024 * 1024 - 4096
"""The server's limit for a document, with some room for what is stored beside it."""

_ODD = (b'"$', b"\\u0000", ESCAPE.encode())
_TEXTS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_ESCAPES = {0: f"{ESCAPE}0", ord(ESCAPE): ESCAPE + ESCAPE}
_ESCAPED = re.compile(f"{ESCAPE}([0{ESCAPE}])")
_INT64 = 2**63


def encode(doc: Mapping[str, Any], what: str, *, any_keys: bool = False) -> Doc:
    """A document as it is stored. Raises BadRequest when something in it is not JSON, TooLarge.

    With `any_keys`, keys that are numbers become texts, as JavaScript makes them.
    """
    try:
        text = orjson.dumps(doc, option=orjson.OPT_NON_STR_KEYS if any_keys else None)
    except TypeError as error:  # orjson.JSONEncodeError is one
        raise BadRequest(f"{what} cannot be stored: {error}") from error
    plain: Doc = orjson.loads(text)
    stored = plain
    if any(sign in text for sign in _ODD) or _deep(text):
        stored = _expanded(plain, 0)
        if _differs(plain, stored):
            stored[MARK] = 1
    try:
        size = len(bson.encode(stored))
    except OverflowError:
        stored = _with_decimals(stored)
        size = len(bson.encode(stored))
    if size > MAX_BYTES:
        raise TooLarge(f"{what}: a document may have 16 megabytes at most, not {size} bytes")
    return stored


def decode(stored: Doc) -> Doc:
    """The document as it was given; `stored` is used up."""
    if stored.pop(MARK, None) is None:
        return stored
    return _contracted(stored)  # type: ignore[no-any-return]


def name(key: str) -> str:
    """A key as it is stored."""
    if key.startswith(("$", ESCAPE)) or "\0" in key:
        return ESCAPE + key.translate(_ESCAPES)
    return key


def original(stored: str) -> str:
    if not stored.startswith(ESCAPE):
        return stored
    return _ESCAPED.sub(lambda found: "\0" if found[1] == "0" else ESCAPE, stored[1:])


def number(value: int) -> int | float | Decimal128:
    """A whole number as it is compared and stored. Documents have none beyond 64 bits."""
    if -_INT64 <= value < _INT64:
        return value
    return Decimal128(str(value)) if 0 < value < 2 * _INT64 else float(value)


def _expanded(value: Any, depth: int) -> Any:
    if isinstance(value, dict):
        if depth >= DEEPEST:
            return {MARK: orjson.dumps(value).decode()}
        return {name(key): _expanded(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        if depth >= DEEPEST:
            return {MARK: orjson.dumps(value).decode()}
        return [_expanded(item, depth + 1) for item in value]
    return value


def _differs(plain: Any, stored: Any) -> bool:
    """Whether anything was escaped or folded: the signs may have stood in a text."""
    if isinstance(plain, dict):
        return plain.keys() != stored.keys() or any(_differs(plain[key], stored[key]) for key in plain)
    if isinstance(plain, list):
        return not isinstance(stored, list) or any(map(_differs, plain, stored))
    return False


def _contracted(value: Any) -> Any:
    if isinstance(value, dict):
        if MARK in value:
            return orjson.loads(value[MARK])
        return {original(key): _contracted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_contracted(item) for item in value]
    return value


def _with_decimals(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_decimals(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_decimals(item) for item in value]
    return number(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _deep(text: bytes) -> bool:
    """Whether JSON text is nested deeper than DEEPEST, at the speed of the byte operations."""
    if text.count(b"{") + text.count(b"[") <= DEEPEST:
        return False
    brackets = _TEXTS.sub(b"", text).translate(_BRACKETS, _NOT_BRACKETS)
    for _ in range(DEEPEST):
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)
