"""The query language of the run log (`engine.adapters.runlog.language`) as SQL with bound values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from engine.adapters.embedded import log_fields as fields
from engine.adapters.runlog import language
from engine.adapters.runlog.fields import IDS, SEARCHED
from engine.adapters.runlog.language import Pattern, Wild

_MATCH = "log.rowid IN (SELECT rowid FROM log_fts WHERE log_fts MATCH ?)"


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


class SqlDialect:
    """`language.Dialect` over the columns of `log_month`."""

    everything = Condition("1")
    nothing = Condition("0")

    def join(self, operator: Literal["AND", "OR"], parts: Sequence[Condition]) -> Condition:
        """Texts of one level go to the text index as one question."""
        parts = list(parts)
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

    def negate(self, condition: Condition) -> Condition:
        # IS NOT TRUE, not NOT: a comparison with a missing field is NULL and must count as false.
        return Condition(f"(({condition.sql}) IS NOT TRUE)", condition.values)

    def exists(self, field: str) -> Condition:
        return Condition(*fields.exists(field))

    def equals(self, field: str, text: str) -> Condition:
        return Condition(*fields.equals(field, text))

    def like(self, field: str, pattern: Pattern) -> Condition:
        return Condition(*fields.like(field, _like(pattern)))

    def made(self, low: int | None, high: int | None) -> Condition:
        parts = [("log.created >= ?", low), ("log.created <= ?", high)]
        given = [(sql, value) for sql, value in parts if value is not None]
        return Condition(
            f"({' AND '.join(sql for sql, _ in given)})", tuple(value for _, value in given), "", low, high
        )

    def between(self, field: str, low: str | None, high: str | None, low_in: bool, high_in: bool) -> Condition:
        return Condition(*fields.value_range(field, low, high, low_in, high_in))

    def words(self, text: str, columns: tuple[str, ...]) -> Condition:
        return _text_match(_quoted(text), columns)

    def begins(self, stem: str, columns: tuple[str, ...]) -> Condition:
        return _text_match(f"{_quoted(stem)} *", columns)

    def scan(self, columns: tuple[str, ...], pattern: Pattern) -> Condition:
        inside = f"%{_like(pattern)}%"
        sql = " OR ".join(f"log.\"{column}\" LIKE ? ESCAPE '\\'" for column in columns)
        return Condition(f"({sql})", (inside,) * len(columns))

    def id_is(self, text: str) -> Condition:
        return Condition(" OR ".join(f'log."{name}" = ?' for name in IDS), (text,) * len(IDS))


compile_query = partial(language.compile_query, dialect=SqlDialect())
"""A query as a Condition. Raises BadRequest."""


def _indexed(text: str) -> Condition:
    return Condition(_MATCH, (text,), text=text)


def _text_match(expression: str, columns: tuple[str, ...]) -> Condition:
    return _indexed(expression if columns == SEARCHED else f"({{{columns[0]}}} : {expression})")


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _like(pattern: Pattern) -> str:
    return "".join(
        fields.like_escape(piece) if isinstance(piece, str) else "%" if piece is Wild.ANY else "_" for piece in pattern
    )
