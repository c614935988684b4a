"""The query language of GET /logs (rest-api.md §7): Lucene's query string, as SQL with bound values.

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
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from luqum import tree
from luqum.exceptions import ParseError
from luqum.thread import parse

from engine.adapters.embedded import log_fields as fields
from engine.adapters.embedded.log_month import SEARCHED
from engine.errors import BadRequest

MAX_LENGTH = 20_000
MAX_CLAUSES = 256
MAX_DEPTH = 40

_MATCH = "log.rowid IN (SELECT rowid FROM log_fts WHERE log_fts MATCH ?)"
_ID = re.compile(r"(?=.*\d)[\w:.-]{16,}")
_WILDCARD = re.compile(r"\\.|[*?]", re.DOTALL)
_UNSUPPORTED: dict[type[Any], str] = {
    tree.Fuzzy: "a fuzzy term (~)",
    tree.Proximity: "a proximity phrase (~)",
    tree.Regex: "a regular expression (/…/)",
}


@dataclass(frozen=True, slots=True)
class Condition:
    """A piece of a WHERE clause. With `text` it is a query of the text index and `sql` is made from it.

    `low` and `high` bound `created` of every record it can match (inclusive, epoch ms).
    """

    sql: str
    values: tuple[Any, ...] = ()
    text: str = ""
    low: int | None = None
    high: int | None = None


EVERYTHING = Condition("1")
NOTHING = Condition("0")


def compile_query(query: str) -> Condition:
    """Raises BadRequest naming the problem and, where the parser knows it, the position."""
    if not query.strip():
        return EVERYTHING
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
    return _Compiler().node(parsed, "", 0)


class _Compiler:
    def __init__(self) -> None:
        self.clauses = 0

    def node(self, node: Any, field: str, depth: int) -> Condition:
        if depth > MAX_DEPTH:
            raise BadRequest(f"query: nested deeper than {MAX_DEPTH} levels")
        if type(node) in _UNSUPPORTED:
            raise BadRequest(f"query: {_UNSUPPORTED[type(node)]} at position {node.pos} is not supported")
        handler = _HANDLERS.get(type(node))
        if handler is None:
            raise BadRequest(f"query: {str(node).strip()!r} is not supported")
        return handler(self, node, field, depth + 1)

    def _children(self, nodes: Sequence[Any], field: str, depth: int) -> list[Condition]:
        return [self.node(node, field, depth) for node in nodes]

    def _inner(self, node: Any, field: str, depth: int) -> Condition:
        return self.node(node.children[0], field, depth)

    def _not(self, node: Any, field: str, depth: int) -> Condition:
        return _negate(self._inner(node, field, depth))

    def _and(self, node: Any, field: str, depth: int) -> Condition:
        return _join("AND", self._children(node.children, field, depth))

    def _or(self, node: Any, field: str, depth: int) -> Condition:
        return _join("OR", self._children(node.children, field, depth))

    def _implicit(self, node: Any, field: str, depth: int) -> Condition:
        """Clauses side by side: `+` must hold, `-` and NOT must not; of the others one, unless there is a `+`."""
        must: list[Condition] = []
        wanted: list[Condition] = []
        for child in node.children:
            condition = self.node(child, field, depth)
            (must if isinstance(child, tree.Plus | tree.Prohibit | tree.Not) else wanted).append(condition)
        if wanted and not any(isinstance(child, tree.Plus) for child in node.children):
            must.append(_join("OR", wanted))
        return _join("AND", must)

    def _field(self, node: Any, _field: str, depth: int) -> Condition:
        name = re.sub(r"\\(.)", r"\1", node.name)
        if name == "_exists_":
            value = getattr(node.expr, "value", None)
            if value is None:
                raise BadRequest("query: _exists_ needs the name of a field, as in _exists_:err")
            return Condition(*fields.exists(_plain(node.expr)))
        return self.node(node.expr, name, depth)

    def _term(self, node: Any, field: str, _depth: int) -> Condition:
        self.clauses += 1
        if self.clauses > MAX_CLAUSES:
            raise BadRequest(f"query: more than {MAX_CLAUSES} terms")
        pattern = None if isinstance(node, tree.Phrase) else _like(node.value)
        if node.value == "*" and isinstance(node, tree.Word):
            return Condition(*fields.exists(field)) if field else EVERYTHING
        if field and not fields.is_text(field):
            return _equals(field, _plain(node), pattern)
        columns = (field,) if field else SEARCHED
        if pattern is None:
            return _words(_plain(node), columns, unfielded=not field)
        stem = node.value[:-1]
        if stem[-1:].isalnum() and not _WILDCARD.search(stem):
            return _text_match(f"{_quoted(stem)} *", columns)
        return _scan(columns, pattern)

    def _range(self, node: Any, field: str, _depth: int) -> Condition:
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
            return _time_range(fields.time_range(low, high, low_in, high_in))
        return Condition(*fields.value_range(field, low, high, low_in, high_in))


_HANDLERS: dict[type[Any], Callable[[_Compiler, Any, str, int], Condition]] = {
    tree.Word: _Compiler._term,
    tree.Phrase: _Compiler._term,
    tree.Range: _Compiler._range,
    tree.From: _Compiler._range,
    tree.To: _Compiler._range,
    tree.SearchField: _Compiler._field,
    tree.Group: _Compiler._inner,
    tree.FieldGroup: _Compiler._inner,
    tree.Boost: _Compiler._inner,
    tree.Plus: _Compiler._inner,
    tree.Not: _Compiler._not,
    tree.Prohibit: _Compiler._not,
    tree.AndOperation: _Compiler._and,
    tree.OrOperation: _Compiler._or,
    tree.UnknownOperation: _Compiler._implicit,
}


def _join(operator: str, parts: list[Condition]) -> Condition:
    """Texts of one level go to the text index as one question."""
    texts = [part.text for part in parts if part.text]
    if len(texts) > 1:
        merged = _indexed("(" + f" {operator} ".join(texts) + ")")
        parts = [merged, *(part for part in parts if not part.text)]
    if len(parts) == 1:
        return parts[0]
    sql = "(" + f" {operator} ".join(part.sql for part in parts) + ")"
    values = tuple(value for part in parts for value in part.values)
    lows = [part.low for part in parts]
    highs = [part.high for part in parts]
    if operator == "AND":
        low = max((low for low in lows if low is not None), default=None)
        high = min((high for high in highs if high is not None), default=None)
        return Condition(sql, values, low=low, high=high)
    low = None if None in lows else min(low for low in lows if low is not None)
    high = None if None in highs else max(high for high in highs if high is not None)
    return Condition(sql, values, low=low, high=high)


def _negate(condition: Condition) -> Condition:
    # IS NOT TRUE, not NOT: a comparison with a missing field is NULL and must count as false.
    return Condition(f"(({condition.sql}) IS NOT TRUE)", condition.values)


def _indexed(text: str) -> Condition:
    return Condition(_MATCH, (text,), text=text)


def _text_match(expression: str, columns: tuple[str, ...]) -> Condition:
    return _indexed(expression if columns == SEARCHED else f"({{{columns[0]}}} : {expression})")


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _words(text: str, columns: tuple[str, ...], *, unfielded: bool) -> Condition:
    if not any(char.isalnum() for char in text):
        # The text index knows words only; punctuation is found by reading.
        return _scan(columns, fields.like_escape(text)) if text else NOTHING
    condition = _text_match(_quoted(text), columns)
    if unfielded and _ID.fullmatch(text):
        ids = " OR ".join(f'log."{name}" = ?' for name in fields.IDS)
        return Condition(f"({condition.sql} OR {ids})", (*condition.values, *[text] * len(fields.IDS)))
    return condition


def _scan(columns: tuple[str, ...], pattern: str) -> Condition:
    """Anywhere in the text: a wildcard stands for a part of a word, not for the whole text."""
    inside = f"%{pattern}%"
    sql = " OR ".join(f"log.\"{column}\" LIKE ? ESCAPE '\\'" for column in columns)
    return Condition(f"({sql})", (inside,) * len(columns))


def _equals(field: str, text: str, pattern: str | None) -> Condition:
    if fields.is_time(field):
        if pattern is not None:
            raise BadRequest(f"query: {field} is a time; it takes no wildcards, use a range as in {field}:[a TO b]")
        return _time_range(fields.time_range(text, text, True, True))
    return Condition(*(fields.equals(field, text) if pattern is None else fields.like(field, pattern)))


def _time_range(bounds: tuple[int | None, int | None]) -> Condition:
    low, high = bounds
    parts = [("log.created >= ?", low), ("log.created <= ?", high)]
    given = [(sql, value) for sql, value in parts if value is not None]
    if not given:
        return EVERYTHING
    return Condition(f"({' AND '.join(sql for sql, _ in given)})", tuple(value for _, value in given), "", low, high)


def _plain(node: Any) -> str:
    """The text a term stands for: without quotes and escapes."""
    value: str = node.value[1:-1] if isinstance(node, tree.Phrase) else node.value
    return re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)


def _like(value: str) -> str | None:
    """A LIKE pattern if the word has wildcards that are not escaped, else None."""
    if not any(match.group() in "*?" for match in _WILDCARD.finditer(value)):
        return None
    value = re.sub(r"(?<![\\*])\*+", "*", value)  # SQLite backtracks for each
    pieces: list[str] = []
    end = 0
    for match in _WILDCARD.finditer(value):
        pieces.append(fields.like_escape(value[end : match.start()]))
        pieces.append({"*": "%", "?": "_"}.get(match.group()) or fields.like_escape(match.group()[1:]))
        end = match.end()
    pieces.append(fields.like_escape(value[end:]))
    return "".join(pieces)


def _bound(node: Any) -> str | None:
    """A bound's text; None for `*`."""
    if isinstance(node, tree.Prohibit):
        return "-" + _plain(node.a)
    if not isinstance(node, tree.Word | tree.Phrase):
        raise BadRequest(f"query: {str(node).strip()!r} cannot bound a range")
    return None if node.value == "*" else _plain(node)
