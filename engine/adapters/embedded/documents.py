"""Documents in SQLite: a table per collection, `id` and the document as JSON text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
import sqlalchemy as sa
from sqlalchemy import exc

from engine.adapters.embedded.changes import apply_changes
from engine.adapters.embedded.database import Database
from engine.adapters.embedded.query_sql import Source, create, matching, select, table_source
from engine.errors import BadRequest, Conflict, NotFound
from engine.model.collections import COLLECTIONS
from engine.ports import Doc, Query, Where

T = TypeVar("T")

SIZES = 500
"""Documents whose sizes are read at a time."""


def table_name(collection: str) -> str:
    return f"doc_{collection}"


def put_sql(collection: str) -> str:
    """Insert or replace; its row is (id, JSON text). Also for a settlement's rows."""
    return (
        f'INSERT INTO "{table_name(collection)}" (id, doc) VALUES (?, ?) '  # noqa: S608 – names are our own
        "ON CONFLICT (id) DO UPDATE SET doc = excluded.doc"
    )


def delete_sql(collection: str) -> str:
    """Its row is (id,). Also for a settlement's rows."""
    return f'DELETE FROM "{table_name(collection)}" WHERE id = ?'  # noqa: S608


def encode(doc: Doc, what: str = "the document") -> str:
    """JSON text. Raises BadRequest when something in it is not JSON."""
    try:
        return orjson.dumps(doc).decode()
    except TypeError as error:  # orjson.JSONEncodeError is one
        raise BadRequest(f"{what} cannot be stored: {error}") from error


@dataclass(frozen=True, slots=True)
class _Collection:
    name: str
    table: sa.Table
    source: Source
    get: str
    insert: str
    put: str
    replace: str
    delete: str
    sizes: str


class SqliteDocuments:
    """`ports.Documents`. Tables and indexes that are missing are made at once."""

    def __init__(self, database: Database, collections: Mapping[str, Sequence[Sequence[str]]] = COLLECTIONS) -> None:
        self._database = database
        self._collections = {name: _declare(database, name, indexes) for name, indexes in collections.items()}
        tables = [item.table for item in self._collections.values()]
        database.write(lambda connection: create(connection, *tables))

    def get(self, collection: str, id: str) -> Doc | None:
        sql = self._of(collection).get
        with self._database.read() as connection:
            row = connection.exec_driver_sql(sql, (id,)).first()
        return None if row is None else orjson.loads(row[0])

    def find(self, collection: str, query: Query = Query()) -> list[Doc]:  # noqa: B008 – frozen
        target = self._of(collection)
        statement = select(target.source, query, target.table.c.doc)
        with self._database.read() as connection:
            texts = connection.execute(statement).scalars().all()
        return [_projected(orjson.loads(text), query) for text in texts]

    def count(self, collection: str, query: Query = Query()) -> int:  # noqa: B008 – frozen
        """How many match; limit and offset do not matter."""
        target = self._of(collection)
        statement = (
            sa.select(sa.func.count())
            .select_from(target.table)
            .where(matching(target.source, query.where, query.any_of))
        )
        with self._database.read() as connection:
            return connection.execute(statement).scalar_one()

    def insert(self, collection: str, doc: Doc) -> bool:
        target, row = self._of(collection), _row(collection, doc)
        return self._write(target, lambda c: c.exec_driver_sql(target.insert, row).rowcount > 0)

    def put(self, collection: str, doc: Doc) -> None:
        target, row = self._of(collection), _row(collection, doc)
        self._write(target, lambda c: c.exec_driver_sql(target.put, row))

    def update(self, collection: str, id: str, changes: Mapping[str, Any], expect: Sequence[Where] = ()) -> bool:
        target = self._of(collection)
        condition = sa.and_(target.table.c.id == id, matching(target.source, expect))
        return self._write(target, lambda c: _change(c, target, condition, changes)) > 0

    def update_many(self, collection: str, where: Sequence[Where], changes: Mapping[str, Any]) -> int:
        target = self._of(collection)
        condition = matching(target.source, where)
        if all(_PLAIN.fullmatch(path) and isinstance(value, str | None) for path, value in changes.items()):
            statement = sa.update(target.table).where(condition).values(doc=_in_place(target.table.c.doc, changes))
            return self._write(target, lambda c: c.execute(statement).rowcount)
        return self._write(target, lambda c: _change(c, target, condition, changes))

    def delete(self, collection: str, id: str) -> bool:
        target = self._of(collection)
        return self._write(target, lambda c: c.exec_driver_sql(target.delete, (id,)).rowcount > 0)

    def delete_many(self, collection: str, where: Sequence[Where], limit: int | None = None) -> int:
        target = self._of(collection)
        condition = matching(target.source, where)
        if limit is not None:
            condition = target.table.c.id.in_(sa.select(target.table.c.id).where(condition).limit(limit))
        statement = sa.delete(target.table).where(condition)
        return self._write(target, lambda c: c.execute(statement).rowcount)

    def excess(self, collection: str, limit: int) -> int:
        """Bytes over `limit`. Nothing is counted while the whole file has no more than that."""
        target = self._of(collection)
        if self._database.used_bytes() <= limit:
            return 0
        total, last = 0, ""
        while True:  # page by page: no read may take long
            with self._database.read() as connection:
                count, size, last = connection.exec_driver_sql(target.sizes, (last, SIZES)).one()
            total += size or 0
            if count < SIZES:
                return max(total - limit, 0)

    def delete_oldest(self, collection: str, by: str, *, excess: int, limit: int) -> tuple[int, int]:
        target = self._of(collection)
        size = sa.func.length(sa.cast(target.table.c.doc, sa.LargeBinary))
        oldest = select(target.source, Query(sort=((by, 1),), limit=limit), target.table.c.id, size)
        with self._database.read() as connection:
            rows = connection.execute(oldest).all()
        chosen: list[str] = []
        freed = 0
        for key, length in rows:
            if freed >= excess:
                break
            chosen.append(key)
            freed += length
        statement = sa.delete(target.table).where(target.table.c.id.in_(chosen))
        return self._write(target, lambda c: c.execute(statement).rowcount), freed

    def _of(self, collection: str) -> _Collection:
        try:
            return self._collections[collection]
        except KeyError:
            raise NotFound(
                f"there is no collection {collection!r}: declare it in engine/model/collections.py"
            ) from None

    def _write(self, target: _Collection, work: Callable[[sa.Connection], T]) -> T:
        def checked(connection: sa.Connection) -> T:
            try:
                return work(connection)
            except exc.IntegrityError as error:
                raise _conflict(target, error) from error

        return self._database.write(checked)


def _declare(database: Database, name: str, indexes: Sequence[Sequence[str]]) -> _Collection:
    table, source = table_source(table_name(name), database.metadata, indexes)
    return _Collection(
        name=name,
        table=table,
        source=source,
        get=f'SELECT doc FROM "{table.name}" WHERE id = ?',  # noqa: S608 – names are our own
        insert=f'INSERT INTO "{table.name}" (id, doc) VALUES (?, ?) ON CONFLICT (id) DO NOTHING',  # noqa: S608
        put=put_sql(name),
        replace=f'UPDATE "{table.name}" SET doc = ? WHERE id = ?',  # noqa: S608
        delete=delete_sql(name),
        sizes=f"SELECT count(*), sum(size), max(id) FROM (SELECT id, length(CAST(doc AS BLOB)) AS size"  # noqa: S608
        f' FROM "{table.name}" WHERE id > ? ORDER BY id LIMIT ?)',
    )


def _row(collection: str, doc: Doc) -> tuple[str, str]:
    key = doc.get("_id")
    if not isinstance(key, str) or not key:
        raise BadRequest(f"{collection}: a document needs an _id that is a text, not {key!r}")
    return key, encode(doc, f"{collection} {key}")


def _change(
    connection: sa.Connection, target: _Collection, condition: sa.ColumnElement[bool], changes: Mapping[str, Any]
) -> int:
    rows = connection.execute(sa.select(target.table.c.id, target.table.c.doc).where(condition)).all()
    for key, text in rows:
        doc = orjson.loads(text)
        apply_changes(doc, changes)
        connection.exec_driver_sql(target.replace, (encode(doc, f"{target.name} {key}"), key))
    return len(rows)


_PLAIN = re.compile(r"[A-Za-z][A-Za-z_]*")


def _in_place(doc: Any, changes: Mapping[str, Any]) -> Any:
    """Texts of top-level fields set by SQLite itself: many documents change without coming into memory."""
    for path, value in changes.items():
        at = f"$.{path}"
        doc = sa.func.json_remove(doc, at) if value is None else sa.func.json_set(doc, at, value)
    return doc


def _projected(doc: Doc, query: Query) -> Doc:
    if query.include:
        wanted = {"_id", *query.include}
        return {key: value for key, value in doc.items() if key in wanted}
    for name in query.exclude:
        if name != "_id":
            doc.pop(name, None)
    return doc


def _conflict(target: _Collection, error: exc.IntegrityError) -> Conflict:
    """SQLite names the index, and the index is named after its fields."""
    _, _, field = str(error.orig).rstrip("'").rpartition(f"ux_{target.table.name}_")
    return Conflict(f"{target.name}: another document has the same {field or 'id'}", code="DUPLICATE")
