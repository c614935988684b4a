"""The query language of GET /logs (rest-api.md §7): Lucene's query string, for any kind of run log.

    failed payment            records with one of the words (Lucene's default: a blank means OR)
    +failed -payment          must have, must not have;  AND, OR, NOT and ( ) as usual
    "card declined"           the words in a row
    declin*  *4711*  or?er    beginnings are looked up, other wildcards scan the text
    severity:error            a field is exactly, whatever its case
    port:(in OR out)          several values of one field
    componentType:*.http.*    wildcards in a field
    msg:declined              the text of one field
    gridTimestamp:[2026-01-01 TO 2026-01-31]  {a TO b}  >=…  <…   ISO text or epoch milliseconds
    _exists_:err   _id:…      has the field;  one record

Words without a field are looked for in `msg`, `err` and `componentType`; what looks like an id is
also compared with the ids of records, flows and executions.

What a query means is decided here, by walking its tree; a `Dialect` only says each condition in the
words of its store.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Generic, Literal, Protocol, TypeVar

from luqum import tree
from luqum.exceptions import ParseError
from luqum.thread import parse

from engine.adapters.runlog import fields
from engine.errors import BadRequest

MAX_LENGTH = 20_000
MAX_CLAUSES = 256
MAX_DEPTH = 40

_ID = re.compile(r"(?=.*\d)[\w:.-]{16,}")
_WILDCARD = re.compile(r"\\.|[*?]", re.DOTALL)
_UNSUPPORTED: dict[type[Any], str] = {
    tree.Fuzzy: "a fuzzy term (~)",
    tree.Proximity: "a proximity phrase (~)",
    tree.Regex: "a regular expression (/…/)",
}

C = TypeVar("C")
"""A condition of a store."""


class Wild(Enum):
    ANY = "*"
    ONE = "?"


Pattern = list[str | Wild]
"""Literal texts and wildcards in turn."""


class Dialect(Protocol[C]):
    """Conditions of one store. `columns` are of `fields.SEARCHED`."""

    @property
    def everything(self) -> C: ...
    @property
    def nothing(self) -> C: ...

    def join(self, operator: Literal["AND", "OR"], parts: Sequence[C]) -> C: ...
    def negate(self, condition: C) -> C:
        """A comparison with a missing field is false, so its negation is true."""

    def exists(self, field: str) -> C: ...
    def equals(self, field: str, text: str) -> C: ...
    def like(self, field: str, pattern: Pattern) -> C:
        """The whole value."""

    def made(self, low: int | None, high: int | None) -> C:
        """`created`, inclusive; one of them is given."""

    def between(self, field: str, low: str | None, high: str | None, low_in: bool, high_in: bool) -> C:
        """Numbers when every bound is one, else text in the order of its characters."""

    def words(self, text: str, columns: tuple[str, ...]) -> C:
        """In a row. There is at least one letter or digit."""

    def begins(self, stem: str, columns: tuple[str, ...]) -> C:
        """Words in a row, the last of which begins so."""

    def scan(self, columns: tuple[str, ...], pattern: Pattern) -> C:
        """Anywhere in the text: a wildcard stands for a part of a word, not for the whole text."""

    def id_is(self, text: str) -> C:
        """One of the ids of `fields.IDS`."""


def compile_query(query: str, dialect: Dialect[C]) -> C:
    """Raises BadRequest naming the problem and, where the parser knows it, the position."""
    if not query.strip():
        return dialect.everything
    if len(query) > MAX_LENGTH:
        raise BadRequest(f"query: {len(query)} characters are too many; the limit is {MAX_LENGTH}")
    if any(char == "\0" or "\ud800" <= char <= "\udfff" for char in query):
        raise BadRequest("query: holds a character that is not allowed (NUL or half a surrogate pair)")
    try:
        parsed = parse(query)  # type: ignore[no-untyped-call]
    except ParseError as error:
        raise BadRequest(f"query: {error}") from error
    except (ArithmeticError, AttributeError, RecursionError, TypeError) as error:  # the parser's own slips
        raise BadRequest(f"query: cannot be understood ({type(error).__name__})") from error
    return _Walk(dialect).node(parsed, "", 0)


class _Walk(Generic[C]):
    def __init__(self, dialect: Dialect[C]) -> None:
        self.dialect = dialect
        self.clauses = 0

    def node(self, node: Any, field: str, depth: int) -> C:
        if depth > MAX_DEPTH:
            raise BadRequest(f"query: nested deeper than {MAX_DEPTH} levels")
        if type(node) in _UNSUPPORTED:
            raise BadRequest(f"query: {_UNSUPPORTED[type(node)]} at position {node.pos} is not supported")
        handler = _HANDLERS.get(type(node))
        if handler is None:
            raise BadRequest(f"query: {str(node).strip()!r} is not supported")
        condition: C = handler(self, node, field, depth + 1)
        return condition

    def _children(self, nodes: Sequence[Any], field: str, depth: int) -> list[C]:
        return [self.node(node, field, depth) for node in nodes]

    def _inner(self, node: Any, field: str, depth: int) -> C:
        return self.node(node.children[0], field, depth)

    def _not(self, node: Any, field: str, depth: int) -> C:
        return self.dialect.negate(self._inner(node, field, depth))

    def _and(self, node: Any, field: str, depth: int) -> C:
        return self.dialect.join("AND", self._children(node.children, field, depth))

    def _or(self, node: Any, field: str, depth: int) -> C:
        return self.dialect.join("OR", self._children(node.children, field, depth))

    def _implicit(self, node: Any, field: str, depth: int) -> C:
        """Clauses side by side: `+` must hold, `-` and NOT must not; of the others one, unless there is a `+`."""
        must: list[C] = []
        wanted: list[C] = []
        for child in node.children:
            condition = self.node(child, field, depth)
            (must if isinstance(child, tree.Plus | tree.Prohibit | tree.Not) else wanted).append(condition)
        if wanted and not any(isinstance(child, tree.Plus) for child in node.children):
            must.append(self.dialect.join("OR", wanted))
        return self.dialect.join("AND", must)

    def _field(self, node: Any, _field: str, depth: int) -> C:
        name = re.sub(r"\\(.)", r"\1", node.name)
        if name == "_exists_":
            value = getattr(node.expr, "value", None)
            if value is None:
                raise BadRequest("query: _exists_ needs the name of a field, as in _exists_:err")
            return self._exists(_plain(node.expr))
        return self.node(node.expr, name, depth)

    def _exists(self, field: str) -> C:
        return self.dialect.everything if fields.is_time(field) else self.dialect.exists(field)

    def _term(self, node: Any, field: str, _depth: int) -> C:
        self.clauses += 1
        if self.clauses > MAX_CLAUSES:
            raise BadRequest(f"query: more than {MAX_CLAUSES} terms")
        pattern = None if isinstance(node, tree.Phrase) else _pattern(node.value)
        if node.value == "*" and isinstance(node, tree.Word):
            return self._exists(field) if field else self.dialect.everything
        if field and not fields.is_text(field):
            return self._equals(field, _plain(node), pattern)
        columns = (field,) if field else fields.SEARCHED
        if pattern is None:
            return self._words(_plain(node), columns, unfielded=not field)
        stem = node.value[:-1]
        if stem[-1:].isalnum() and not _WILDCARD.search(stem):
            return self.dialect.begins(stem, columns)
        return self.dialect.scan(columns, pattern)

    def _words(self, text: str, columns: tuple[str, ...], *, unfielded: bool) -> C:
        if not any(char.isalnum() for char in text):
            # Indexes of text know words only; punctuation is found in other ways.
            return self.dialect.scan(columns, [text]) if text else self.dialect.nothing
        condition = self.dialect.words(text, columns)
        if unfielded and _ID.fullmatch(text):
            return self.dialect.join("OR", [condition, self.dialect.id_is(text)])
        return condition

    def _equals(self, field: str, text: str, pattern: Pattern | None) -> C:
        if fields.is_time(field):
            if pattern is not None:
                raise BadRequest(f"query: {field} is a time; it takes no wildcards, use a range as in {field}:[a TO b]")
            return self._made(fields.time_range(text, text, True, True))
        return self.dialect.equals(field, text) if pattern is None else self.dialect.like(field, pattern)

    def _range(self, node: Any, field: str, _depth: int) -> C:
        self.clauses += 1
        low = high = None
        low_in = high_in = True
        if isinstance(node, tree.Range):
            low, high, low_in, high_in = _bound(node.low), _bound(node.high), node.include_low, node.include_high
        elif isinstance(node, tree.From):
            low, low_in = _bound(node.a), node.include
        else:
            high, high_in = _bound(node.a), node.include
        if not field:
            raise BadRequest(f"query: the range at position {node.pos} needs a field, as in gridTimestamp:[a TO b]")
        if fields.is_time(field):
            return self._made(fields.time_range(low, high, low_in, high_in))
        if low is None and high is None:
            return self.dialect.exists(field)
        return self.dialect.between(field, low, high, low_in, high_in)

    def _made(self, bounds: tuple[int | None, int | None]) -> C:
        return self.dialect.everything if bounds == (None, None) else self.dialect.made(*bounds)


_HANDLERS: dict[type[Any], Callable[[_Walk[Any], Any, str, int], Any]] = {
    tree.Word: _Walk._term,
    tree.Phrase: _Walk._term,
    tree.Range: _Walk._range,
    tree.From: _Walk._range,
    tree.To: _Walk._range,
    tree.SearchField: _Walk._field,
    tree.Group: _Walk._inner,
    tree.FieldGroup: _Walk._inner,
    tree.Boost: _Walk._inner,
    tree.Plus: _Walk._inner,
    tree.Not: _Walk._not,
    tree.Prohibit: _Walk._not,
    tree.AndOperation: _Walk._and,
    tree.OrOperation: _Walk._or,
    tree.UnknownOperation: _Walk._implicit,
}


def _plain(node: Any) -> str:
    """The text a term stands for: without quotes and escapes."""
    value: str = node.value[1:-1] if isinstance(node, tree.Phrase) else node.value
    return re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)


def _pattern(value: str) -> Pattern | None:
    """If the word has wildcards that are not escaped, else None."""
    if not any(match.group() in "*?" for match in _WILDCARD.finditer(value)):
        return None
    value = re.sub(r"(?<![\\*])\*+", "*", value)  # stores backtrack for each
    pieces: Pattern = []
    end = 0
    for match in _WILDCARD.finditer(value):
        found = match.group()
        pieces += [value[end : match.start()], Wild(found) if found in "*?" else found[1:]]
        end = match.end()
    return [piece for piece in (*pieces, value[end:]) if piece != ""]


def _bound(node: Any) -> str | None:
    """A bound's text; None for `*`."""
    if isinstance(node, tree.Prohibit):
        return "-" + _plain(node.a)
    if not isinstance(node, tree.Word | tree.Phrase):
        raise BadRequest(f"query: {str(node).strip()!r} cannot bound a range")
    return None if node.value == "*" else _plain(node)
