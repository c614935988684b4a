"""Compiles `ports.Query` to SQLAlchemy expressions over a column of JSON text.

What a path finds: segments follow keys of objects; a number follows the item of an array.
On the way one array of objects may stand without a number ("sharedWith.email"): then each
of its objects is looked into. If the place found holds an array, its items are tested.

Paths of declared indexes hold one value, never an array (engine/model/collections.py): they
compile to the bare `json_extract(doc, '$."path"')` that the index is built on. Everything
else, paths and values, is bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import orjson
import sqlalchemy as sa

from engine.adapters.conditions import (
    INT64,
    check_scalar,
    check_text,
    is_index,
    listed,
    pattern_of,
    segments_of,
    text_matches,
)
from engine.ports import Query, Where

Condition = sa.ColumnElement[bool]
Test = Callable[[sa.ColumnElement[Any], sa.ColumnElement[Any]], Condition]
"""Given a value and its JSON type: does it pass?"""

_RANGES: dict[str, Callable[[Any, Any], Condition]] = {
    "lt": lambda value, bound: value < bound,
    "lte": lambda value, bound: value <= bound,
    "gt": lambda value, bound: value > bound,
    "gte": lambda value, bound: value >= bound,
}
_NEGATED = {"ne": "eq", "nin": "in"}


@dataclass(frozen=True, slots=True)
class Source:
    """A table of JSON documents: its columns, and the paths that have an index."""

    id: sa.Column[str]
    doc: sa.Column[str]
    indexed: frozenset[str]


def table_source(
    name: str, metadata: sa.MetaData, indexes: Sequence[Sequence[str]], *further: sa.Column[Any]
) -> tuple[sa.Table, Source]:
    """A table `id, doc` with an expression index per declaration (a leading "!": unique)."""
    table = sa.Table(
        name,
        metadata,
        sa.Column("id", sa.Text, primary_key=True, nullable=False),
        sa.Column("doc", sa.Text, nullable=False),
        *further,
    )
    paths: set[str] = set()
    for declared in indexes:
        plain = [path.removeprefix("!") for path in declared]
        paths.update(plain)
        title = "_".join((name, *(path.replace(".", "_") for path in plain)))
        unique = declared[0].startswith("!")
        # "u" in the name: an index that becomes unique in a later release is another one
        sa.Index(f"{'ux' if unique else 'ix'}_{title}", *map(_indexed_text, plain), unique=unique, _table=table)
    return table, Source(table.c.id, table.c.doc, frozenset(paths))


def create(connection: sa.Connection, *tables: sa.Table) -> None:
    """Make the tables, and every index they lack (a later release may declare more)."""
    for table in tables:
        table.create(connection, checkfirst=True)
        for index in table.indexes:
            connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))


def register_functions(connection: Any) -> None:
    """Give a SQLite driver connection the functions that compiled queries call."""
    connection.create_function("text_matches", 2, text_matches, deterministic=True)


def select(source: Source, query: Query, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """`columns` of the matching rows, in order; ties are broken by id. Raises BadRequest."""
    statement = sa.select(*columns).where(matching(source, query.where, query.any_of))
    for path, direction in query.sort:
        key = _sort_key(source, path)
        statement = statement.order_by(key.desc() if direction < 0 else key.asc())
    if query.sort:
        statement = statement.order_by(source.id)
    if query.limit is not None:
        statement = statement.limit(max(query.limit, 0))
    return statement.offset(query.offset) if query.offset > 0 else statement


def matching(source: Source, where: Sequence[Where], any_of: Sequence[Where] = ()) -> Condition:
    """The WHERE clause. Raises BadRequest naming the path."""
    conditions = [_condition(source, item) for item in where]
    if any_of:
        conditions.append(sa.or_(*(_condition(source, item) for item in any_of)))
    return sa.and_(sa.true(), *conditions)


def _condition(source: Source, where: Where) -> Condition:
    if where.op in _NEGATED:
        positive = Where(where.path, _NEGATED[where.op], where.value)  # type: ignore[arg-type]
        return _condition(source, positive).is_not(sa.true())
    if where.op == "exists":
        present = _present(source, where.path)
        return present if where.value else present.is_not(sa.true())
    if where.op == "eq" and where.value is None:
        return _present(source, where.path).is_not(sa.true())
    if where.op != "in":
        return _holds(source, where.path, _test(where))
    wanted = listed(where)
    known = _holds(source, where.path, _any_of(where.path, [value for value in wanted if value is not None]))
    if None in wanted:
        return sa.or_(known, _present(source, where.path).is_not(sa.true()))
    return known


# -- places


def _holds(source: Source, path: str, test: Test) -> Condition:
    segments = segments_of(path)
    if path == "_id":
        return test(source.id, sa.literal_column("'text'"))
    if path in source.indexed:
        return test(_indexed(path), sa.func.json_type(source.doc, _json_path(segments)))

    def leaf(document: sa.ColumnElement[Any], place: str) -> Condition:
        kind = sa.func.json_type(document, place)
        item = _each(document, place)
        return sa.case(
            (kind == "array", _exists(item, test(item.c.value, item.c.type))),
            else_=test(sa.func.json_extract(document, place), kind),
        )

    return _anywhere(source.doc, segments, leaf)


def _present(source: Source, path: str) -> Condition:
    """Something other than null stands there."""
    segments = segments_of(path)
    if path == "_id":
        return sa.true()
    if path in source.indexed:
        return _indexed(path).is_not(None)

    def leaf(document: sa.ColumnElement[Any], place: str) -> Condition:
        return sa.func.json_type(document, place) != "null"

    return _anywhere(source.doc, segments, leaf)


def _anywhere(
    document: sa.ColumnElement[Any],
    segments: tuple[str, ...],
    leaf: Callable[[sa.ColumnElement[Any], str], Condition],
) -> Condition:
    """`leaf` at the path itself or, past one array without a number, in each of its objects."""
    found = [leaf(document, place) for place in _places(segments)]
    for cut in range(1, len(segments)):
        if is_index(segments[cut]):
            continue
        for place, rest in product(_places(segments[:cut]), _places(segments[cut:])):
            # CASE, not AND: SQLite may test in any order, and reading a plain value as JSON is an error
            array = sa.case((sa.func.json_type(document, place) == "array", document))
            item = _each(array, place)
            found.append(_exists(item, leaf(sa.case((item.c.type == "object", item.c.value)), rest)))
    return sa.or_(*found)


def _each(document: sa.ColumnElement[Any], place: str) -> sa.TableValuedAlias:
    return sa.func.json_each(document, place).table_valued("value", "type", joins_implicitly=True).alias()


def _exists(items: sa.TableValuedAlias, condition: Condition) -> Condition:
    return sa.exists(sa.select(sa.literal_column("1")).select_from(items).where(condition).correlate_except(items))


def _sort_key(source: Source, path: str) -> sa.ColumnElement[Any]:
    segments = segments_of(path)
    if path == "_id":
        return source.id
    if path in source.indexed:
        return _indexed(path)
    places = [sa.func.json_extract(source.doc, place) for place in _places(segments)]
    return places[0] if len(places) == 1 else sa.func.coalesce(*places)


def _places(segments: tuple[str, ...]) -> Iterator[str]:
    """The JSON paths to try: a number is an index of an array, or else the key of an object."""
    choices = [(f'."{s}"', f"[{s}]") if is_index(s) else (f'."{s}"',) for s in segments]
    return ("$" + "".join(steps) for steps in product(*choices))


def _json_path(segments: tuple[str, ...]) -> str:
    return "$" + "".join(f'."{segment}"' for segment in segments)


def _indexed_sql(path: str) -> str:
    """The text must be the same in the index and in the query, or the index is not used."""
    return f"json_extract(doc, '{_json_path(segments_of(path))}')"


def _indexed_text(path: str) -> sa.TextClause:
    return sa.text(_indexed_sql(path))


def _indexed(path: str) -> sa.ColumnElement[Any]:
    return sa.literal_column(_indexed_sql(path))


# -- tests of one value


def _test(where: Where) -> Test:
    if where.op == "eq":
        return _equals(where)
    if where.op in _RANGES:
        return _in_range(where)
    if where.op == "starts":
        return _starts(check_text(where))
    if where.op == "ends":
        return _ends(check_text(where))
    pattern = pattern_of(where)
    return lambda value, kind: sa.and_(kind == "text", sa.func.text_matches(pattern, value) == 1)


def _equals(where: Where) -> Test:
    bound, kinds = _bound(where.path, where.value)
    if isinstance(bound, str) and not bound.startswith(("{", "[")):
        # Only text can equal it, so there is no need to look into the document for the type.
        return lambda value, kind: value == bound
    return lambda value, kind: sa.and_(value == bound, kind.in_(kinds))


def _in_range(where: Where) -> Test:
    bound, kinds = _bound(where.path, where.value)
    compare = _RANGES[where.op]
    return lambda value, kind: sa.and_(compare(value, bound), kind.in_(kinds))


def _any_of(path: str, wanted: list[Any]) -> Test:
    """One bound list per type, so that its length meets no limit of SQLite."""
    groups: dict[tuple[str, ...], list[Any]] = {}
    for item in wanted:
        bound, kinds = _bound(path, item)
        groups.setdefault(kinds, []).append(bound)

    def test(value: sa.ColumnElement[Any], kind: sa.ColumnElement[Any]) -> Condition:
        found: list[Condition] = []
        for kinds, items in groups.items():
            listed = sa.func.json_each(orjson.dumps(items).decode()).table_valued("value").alias()
            member = value.in_(sa.select(listed.c.value))
            plain = kinds == ("text",) and not any(item.startswith(("{", "[")) for item in items)
            found.append(member if plain else sa.and_(member, kind.in_(kinds)))
        return sa.or_(sa.false(), *found)

    return test


def _starts(prefix: str) -> Test:
    """As a range, which an index can answer, and exactly."""
    after = _after(prefix)

    def test(value: sa.ColumnElement[Any], kind: sa.ColumnElement[Any]) -> Condition:
        conditions = [kind == "text", value >= prefix, sa.func.substr(value, 1, len(prefix)) == prefix]
        return sa.and_(*conditions, value < after if after else sa.true())

    return test


def _ends(suffix: str) -> Test:
    if not suffix:
        return lambda value, kind: kind == "text"
    return lambda value, kind: sa.and_(kind == "text", sa.func.substr(value, -len(suffix)) == suffix)


def _after(prefix: str) -> str:
    """The first text, in order of code points, beyond all that start so; "" when there is none."""
    for end in range(len(prefix), 0, -1):
        last = ord(prefix[end - 1])
        if last < 0x10FFFF:
            return prefix[: end - 1] + chr(0xE000 if last == 0xD7FF else last + 1)
    return ""


def _bound(path: str, value: Any) -> tuple[Any, tuple[str, ...]]:
    """The value as SQLite sees it, and the JSON types it may be compared with (never across types)."""
    check_scalar(path, value)
    if isinstance(value, bool):
        return int(value), ("true", "false")
    if isinstance(value, str):
        return value, ("text",)
    if isinstance(value, int) and not -INT64 <= value < INT64:
        value = float(value)
    return value, ("integer", "real")
