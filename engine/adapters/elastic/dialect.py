"""The query language of the run log (`engine.adapters.runlog.language`) as queries of the search server.

They find what the embedded run log finds, but for three things that no index of words can tell: a wildcard
within a text stands for a part of one word; signs are looked for one by one, the commonest not at all; and
values beyond the known fields are looked at in their first 256 characters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from engine.adapters.elastic.document import document_id, sortable
from engine.adapters.elastic.mapping import MORE, WORDS
from engine.adapters.elastic.words import marks_of, words_of
from engine.adapters.runlog import language
from engine.adapters.runlog.fields import EXACT, is_number, known, path_of
from engine.adapters.runlog.language import Pattern, Wild
from engine.errors import BadRequest

Query = dict[str, Any]

LONGEST_TERM = 255
"""Characters after which the server's analyser splits a word."""

MOST_ENDINGS = 500
"""Words looked at for the beginning that ends a phrase."""

_ALNUM = re.compile(r"[^\W_]+")


class ElasticDialect:
    """`language.Dialect` over the fields of `mapping`."""

    @property
    def everything(self) -> Query:
        return {"match_all": {}}

    @property
    def nothing(self) -> Query:
        return {"match_none": {}}

    def join(self, operator: Literal["AND", "OR"], parts: Sequence[Query]) -> Query:
        if len(parts) == 1:
            return parts[0]
        return all_of(parts) if operator == "AND" else any_of(parts)

    def negate(self, condition: Query) -> Query:
        return {"bool": {"must_not": [condition]}}

    def exists(self, field: str) -> Query:
        name = known(field)
        if name == "id":
            return self.everything
        if name:
            return {"exists": {"field": WORDS[name] if name in ("msg", "err") else name}}
        return {"term": {MORE: _path(field)}}

    def equals(self, field: str, text: str) -> Query:
        name = known(field)
        if name == "id":
            return {"ids": {"values": [document_id(text)]}}
        if name in ("msg", "err"):
            return self.words(text, (name,))
        if name:
            return {"term": {name: text}} if name in EXACT else _term(name, text)
        path = _path(field)
        return any_of([_term(MORE, f"{path}={text}"), _term(MORE, f"{path}~{text}")])

    def like(self, field: str, pattern: Pattern) -> Query:
        name = known(field)
        if name in ("msg", "err"):
            return self.scan((name,), pattern)
        if name:
            return _wildcard(name, _whole(pattern))
        path = _path(field)
        return any_of([_wildcard(MORE, _whole([f"{path}{mark}", *pattern])) for mark in "=~"])

    def made(self, low: int | None, high: int | None) -> Query:
        bounds = {"gte": low, "lte": high}
        return {"range": {"created": {name: value for name, value in bounds.items() if value is not None}}}

    def between(self, field: str, low: str | None, high: str | None, low_in: bool, high_in: bool) -> Query:
        numeric = all(is_number(bound) for bound in (low, high) if bound is not None)
        name = known(field)
        if name in ("msg", "err"):
            raise BadRequest(f"query: {field} takes no range in this run log; look for its words")
        if name:
            if numeric and name != "runId":  # the others are texts
                return self.nothing
            # Numbers of runs are times of as many digits: they are in order as texts, too.
            return _range(name, low, high, low_in, high_in, last=":" if numeric else "")
        path = _path(field)
        if numeric:
            first, last = (None if bound is None else sortable(float(bound)) for bound in (low, high))
            return _range(MORE, first, last, low_in, high_in, f"{path}#", f"{path}$")
        return _range(MORE, low, high, low_in, high_in, f"{path}=", f"{path}>")

    def words(self, text: str, columns: tuple[str, ...]) -> Query:
        words = words_of(text)
        return any_of([_phrase(WORDS[column], words) for column in columns]) if words else self.nothing

    def begins(self, stem: str, columns: tuple[str, ...]) -> Query:
        words = words_of(stem)
        return any_of([_beginning(WORDS[column], words) for column in columns]) if words else self.nothing

    def scan(self, columns: tuple[str, ...], pattern: Pattern) -> Query:
        return any_of([_scan(WORDS[column], pattern) for column in columns])

    def id_is(self, text: str) -> Query:
        return any_of([self.equals(name, text) for name in ("id", "correlationId", "flowId")])


compile_query = partial(language.compile_query, dialect=ElasticDialect())
"""A query as the server's. Raises BadRequest."""


def all_of(parts: Sequence[Query]) -> Query:
    """Without scores. Flat, as the server limits how deep queries nest."""
    flat: list[Query] = []
    for part in parts:
        inner = part.get("bool", {})
        flat += inner["filter"] if inner.keys() == {"filter"} else [part]
    return {"bool": {"filter": flat}}


def any_of(parts: Sequence[Query]) -> Query:
    if len(parts) == 1:
        return parts[0]
    flat: list[Query] = []
    for part in parts:
        inner = part.get("bool", {})
        flat += inner["should"] if inner.keys() == {"should", "minimum_should_match"} else [part]
    return {"bool": {"should": flat, "minimum_should_match": 1}}


def _path(field: str) -> str:
    return ".".join(path_of(field))


def _term(field: str, text: str) -> Query:
    return {"term": {field: {"value": text, "case_insensitive": True}}}


def _wildcard(field: str, pattern: str) -> Query:
    return {"wildcard": {field: {"value": pattern, "case_insensitive": True}}}


def _whole(pattern: Pattern) -> str:
    return "".join(re.sub(r"([*?\\])", r"\\\1", piece) if isinstance(piece, str) else piece.value for piece in pattern)


def _range(
    field: str, low: str | None, high: str | None, low_in: bool, high_in: bool, first: str = "", last: str = ""
) -> Query:
    """Between texts that begin with `first`; `last` comes after all of them."""
    bounds = {}
    if low is not None or first:
        bounds["gte" if low_in or low is None else "gt"] = first + (low or "")
    if high is not None or last:
        bounds["lt" if high is None or not high_in else "lte"] = last if high is None else first + high
    return {"range": {field: bounds}}


def _phrase(field: str, words: str) -> Query:
    if " " in words or len(words) > LONGEST_TERM:
        return {"match_phrase": {field: words}}
    return {"term": {field: words}}


def _beginning(field: str, words: str) -> Query:
    if " " in words:
        return {"match_phrase_prefix": {field: {"query": words, "max_expansions": MOST_ENDINGS}}}
    return {"prefix": {field: words[:LONGEST_TERM]}}


def _scan(field: str, pattern: Pattern) -> Query:
    """All pieces of words between `*` and signs, each somewhere in a word, and all signs."""
    pieces: list[str] = []
    signs: set[str] = set()
    piece = ""
    for part in (*pattern, Wild.ANY):
        if isinstance(part, str):
            signs.update(marks_of(part).split())
            words = words_of(part).split()
            for position, word in enumerate(words):
                if position or not _ALNUM.match(part):
                    pieces.append(piece)
                    piece = ""
                piece += word
            if not words or not _ALNUM.match(part[-1]):
                pieces.append(piece)
                piece = ""
        elif part is Wild.ONE:
            piece += "?"
        else:
            pieces.append(piece)
            piece = ""
    found = [_wildcard_in(field, piece) for piece in pieces if piece.strip("?")]
    found += [{"term": {field: sign}} for sign in sorted(signs)]
    return all_of(found) if found else {"exists": {"field": field}}


def _wildcard_in(field: str, piece: str) -> Query:
    return {"wildcard": {field: {"value": f"*{piece}*"}}}
