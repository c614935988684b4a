"""Documents in MongoDB: a collection each, with the declared indexes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pymongo import DeleteOne, IndexModel, ReplaceOne
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from engine.adapters.embedded.changes import apply_changes
from engine.adapters.mongo import encoding, state
from engine.adapters.mongo import query as queries
from engine.adapters.mongo.connection import Mongo, duplicate_field, translated
from engine.errors import BadRequest, NotFound
from engine.model.collections import COLLECTIONS
from engine.ports import Doc, Query, StateChange, Where, Write

PIECE = 500
"""Documents rewritten at a time."""

MANY_SECONDS = 60.0
"""A transaction may not take longer on the server, unless it is told otherwise."""


@dataclass(frozen=True, slots=True)
class _Declared:
    indexes: tuple[IndexModel, ...]
    paths: frozenset[str]


class MongoDocuments:
    """`ports.Documents`. Indexes that are missing are made at once."""

    def __init__(self, mongo: Mongo, collections: Mapping[str, Sequence[Sequence[str]]] = COLLECTIONS) -> None:
        self._mongo = mongo
        self._declared = {name: _declare(indexes) for name, indexes in collections.items()}
        for name, declared in self._declared.items():
            if declared.indexes:
                with self._use(name) as collection:
                    collection.create_indexes(list(declared.indexes))

    def get(self, collection: str, id: str) -> Doc | None:
        with self._use(collection) as target:
            found = target.find_one({"_id": id})
        return None if found is None else encoding.decode(found)

    def find(self, collection: str, query: Query = Query()) -> list[Doc]:  # noqa: B008 – frozen
        if query.limit is not None and query.limit <= 0:
            self._filter(collection, query.where, query.any_of)  # a mistake is told all the same
            return []
        condition = self._filter(collection, query.where, query.any_of)
        with self._use(collection) as target:
            cursor = target.find(condition, queries.projection(query), max(query.offset, 0), query.limit or 0)
            if query.sort:
                cursor = cursor.sort(queries.order(query)).allow_disk_use(True)
            return [queries.project(encoding.decode(stored), query) for stored in cursor]

    def count(self, collection: str, query: Query = Query()) -> int:  # noqa: B008 – frozen
        """How many match; limit and offset do not matter."""
        condition = self._filter(collection, query.where, query.any_of)
        with self._use(collection) as target:
            return target.count_documents(condition)

    def insert(self, collection: str, doc: Doc) -> bool:
        stored = _stored(collection, doc)
        with self._use(collection) as target:
            try:
                target.insert_one(stored)
            except DuplicateKeyError as error:
                same = {"_id": stored["_id"]}
                if not duplicate_field(error) or target.find_one(same, {"_id": 1}) is not None:
                    return False
                raise
        return True

    def put(self, collection: str, doc: Doc) -> None:
        stored = _stored(collection, doc)
        with self._use(collection) as target:
            target.replace_one({"_id": stored["_id"]}, stored, upsert=True)

    def update(self, collection: str, id: str, changes: Mapping[str, Any], expect: Sequence[Where] = ()) -> bool:
        condition = {"$and": [{"_id": id}, self._filter(collection, expect)]}
        plain = _plain(changes, f"{collection} {id}")
        if plain is None:
            return self._rewrite(collection, condition, changes) > 0
        with self._use(collection) as target:
            return target.update_one(condition, plain).matched_count > 0

    def update_many(self, collection: str, where: Sequence[Where], changes: Mapping[str, Any]) -> int:
        """All or none: whoever takes what waits must not share it with another."""
        condition = self._filter(collection, where)
        plain = _plain(changes, collection)
        if plain is None:
            return self._rewrite(collection, condition, changes)

        def work(session: ClientSession) -> int:
            return target.update_many(condition, plain, session=session).matched_count

        with self._use(collection) as target:
            return self._mongo.transaction(work, seconds=MANY_SECONDS, what=collection)

    def delete(self, collection: str, id: str) -> bool:
        with self._use(collection) as target:
            return target.delete_one({"_id": id}).deleted_count > 0

    def delete_many(self, collection: str, where: Sequence[Where], limit: int | None = None) -> int:
        condition = self._filter(collection, where)
        with self._use(collection) as target:
            if limit is not None:
                chosen = [doc["_id"] for doc in target.find(condition, {"_id": 1}, limit=limit)] if limit > 0 else []
                condition = {"$and": [{"_id": {"$in": chosen}}, condition]}
            return target.delete_many(condition).deleted_count

    def excess(self, collection: str, limit: int) -> int:
        """Bytes over `limit`, as the server keeps count: after a crash of it, not exactly."""
        with self._use(collection) as target:
            size: int = target.database.command("collStats", target.name)["size"]
        return max(size - limit, 0)

    def delete_oldest(self, collection: str, by: str, *, excess: int, limit: int) -> tuple[int, int]:
        sizes: list[Doc] = [
            {"$sort": {by: 1}},
            {"$limit": max(limit, 1)},
            {"$project": {"size": {"$bsonSize": "$$ROOT"}}},
        ]
        chosen: list[str] = []
        freed = 0
        with self._use(collection) as target:
            for doc in target.aggregate(sizes, allowDiskUse=True):
                if freed >= excess:
                    break
                chosen.append(doc["_id"])
                freed += doc["size"]
            return target.delete_many({"_id": {"$in": chosen}}).deleted_count, freed

    def bulk(self, writes: Sequence[Write], states: Sequence[StateChange] = ()) -> None:
        """What one settlement (or several) stores, durably: all of it or nothing.

        One round trip for each collection with documents to put, one for each with documents to delete,
        one more when there are several, and two for all states. Of writes to the same document the last
        one counts. To repeat it changes nothing, except for the verbs `inc`, `add_to_set` and
        `remove_from_set`: those are applied with an operation id, through `ports.State`.
        Raises BadRequest, TooLarge, Conflict for a violated unique index, Unavailable.
        """
        requests = _requests(writes)
        for name in requests:
            self._known(name)

        def work(session: ClientSession | None) -> None:
            for name, wanted in requests.items():
                self._mongo.database[name].bulk_write(wanted, ordered=False, session=session)
            if states:
                assert session is not None
                state.change(self._mongo.database[state.COLLECTION], session, states)

        kinds = {(name, type(one)) for name, wanted in requests.items() for one in wanted}
        if len(kinds) > 1 or states:
            self._mongo.transaction(work, what="a settlement")
        elif kinds:
            with translated("a settlement"):
                work(None)

    def _filter(self, collection: str, where: Sequence[Where], any_of: Sequence[Where] = ()) -> queries.Filter:
        with self._use(collection) as target:
            return queries.matching(target, where, any_of, self._declared[collection].paths)

    def _rewrite(self, collection: str, condition: queries.Filter, changes: Mapping[str, Any]) -> int:
        """Changes that need to be seen with the document: read, change and replace, all or none."""

        def work(session: ClientSession) -> int:
            found, count = target.find(condition, session=session), 0
            while piece := list(islice(found, PIECE)):
                docs = [encoding.decode(stored) for stored in piece]
                for doc in docs:
                    apply_changes(doc, changes)
                requests = [ReplaceOne({"_id": doc["_id"]}, _stored(collection, doc)) for doc in docs]
                target.bulk_write(requests, ordered=False, session=session)
                count += len(docs)
            return count

        with self._use(collection) as target:
            return self._mongo.transaction(work, seconds=MANY_SECONDS, what=collection)

    def _known(self, collection: str) -> _Declared:
        try:
            return self._declared[collection]
        except KeyError:
            raise NotFound(
                f"there is no collection {collection!r}: declare it in engine/model/collections.py"
            ) from None

    @contextmanager
    def _use(self, collection: str) -> Iterator[Collection[Doc]]:
        self._known(collection)
        with translated(collection):
            yield self._mongo.database[collection]


def _declare(indexes: Sequence[Sequence[str]]) -> _Declared:
    models: list[IndexModel] = []
    paths: set[str] = set()
    for declared in indexes:
        plain = [path.removeprefix("!") for path in declared]
        paths.update(plain)
        title = "_".join(path.replace(".", "_") for path in plain)
        keys = [(path, 1) for path in plain]
        if declared[0].startswith("!"):
            # "u" in the name: an index that becomes unique in a later release is another one
            existing = {"$and": [_existing(path) for path in plain]}
            models.append(IndexModel(keys, name=f"ux_{title}", unique=True, partialFilterExpression=existing))
        else:
            models.append(IndexModel([*keys, ("_id", 1)], name=f"ix_{title}"))  # it sorts, ties by id
    return _Declared(tuple(models), frozenset(paths))


def _existing(path: str) -> Doc:
    """A text, number or boolean stands there, in words that let the server use the index for a query of one."""
    return {"$or": [{path: {"$gte": ""}}, {path: {"$gte": float("-inf")}}, {path: True}, {path: False}]}


def _stored(collection: str, doc: Doc) -> Doc:
    key = doc.get("_id")
    if not isinstance(key, str) or not key:
        raise BadRequest(f"{collection}: a document needs an _id that is a text, not {key!r}")
    return encoding.encode(doc, f"{collection} {key}")


def _plain(changes: Mapping[str, Any], what: str) -> Doc | None:
    """Changes of top-level fields, for the server; None when there are others."""
    if any("." in path or path in ("", "_id") for path in changes):
        return None
    known = {path: value for path, value in changes.items() if value is not None}
    gone = {encoding.name(path): "" for path, value in changes.items() if value is None}
    return {"$set": encoding.encode(known, what)} | ({"$unset": gone} if gone else {})


def _requests(writes: Sequence[Write]) -> dict[str, list[ReplaceOne[Doc] | DeleteOne]]:
    """By collection. Of writes to the same document, the last one."""
    last = {(write.collection, write.id): write for write in writes}
    found: dict[str, list[ReplaceOne[Doc] | DeleteOne]] = {}
    for write in last.values():
        one: ReplaceOne[Doc] | DeleteOne = DeleteOne({"_id": write.id})
        if write.doc is not None:
            one = ReplaceOne({"_id": write.id}, _stored(write.collection, write.doc), upsert=True)
        found.setdefault(write.collection, []).append(one)
    return found
