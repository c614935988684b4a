"""Data stores: named key-value collections of a user (rest-api.md §6, engine.md §3).

An entry is changed by a conditional update on its `version`, so two writers never lose each
other's change. `op_id` names an operation of a message: repeating it changes nothing and gives
the first answer again (design.md §4.6). Whatever belongs to somebody else does not exist here.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import orjson

from engine.errors import BadRequest, Conflict, NotFound, TooLarge
from engine.model.ids import object_id
from engine.model.message import new_id
from engine.model.times import iso
from engine.ports import Clock, Doc, Documents, Query, Where
from engine.rules.entry_filter import compile_filter, equalities
from engine.services.store_view import StoreView
from engine.services.store_watchers import EVENTS, Notify, StoreWatchers, entry_json

MAX_NAME = 255
MAX_KEY = 1024
MAX_VALUE = 8 * 1024 * 1024
PAGE = 100
ATTEMPTS = 200
ALL = Query()
OPERATIONS = 20
OPERATION_BYTES = 16 * 1024


class StoreService:
    def __init__(self, *, documents: Documents, clock: Clock, notify: Notify) -> None:
        self._documents = documents
        self._clock = clock
        self._watchers = StoreWatchers(documents=documents, notify=notify)

    def view(
        self, user_id: str, flow_id: str, component_id: str, operation: Callable[[], str] | None = None
    ) -> StoreView:
        """What `context.stores` is. Without `operation`, a repeated call changes again."""
        return StoreView(self, user_id, flow_id, component_id, operation or new_id)

    # -- stores

    def find_stores(self, user_id: str, query: Query = ALL) -> list[Doc]:
        """→ [{name, storeId}], by name unless `query` says otherwise."""
        query = _all_fields(query, Where("userId", "eq", user_id), "name")
        return [_store_json(doc) for doc in self._documents.find("stores", query)]

    def create(self, user_id: str, name: Any) -> str:
        """→ the store's id. Raises BadRequest for a bad name."""
        doc = {"_id": object_id(), "userId": user_id, "name": _name(name), "created": self._clock.now()}
        self._documents.insert("stores", doc)
        return str(doc["_id"])

    def info(self, user_id: str, store_id: str) -> Doc:
        return _store_json(self._owned(user_id, store_id))

    def rename(self, user_id: str, store_id: str, name: Any) -> Doc:
        """→ {oldName, storeId}."""
        store = self._owned(user_id, store_id)
        self._documents.update("stores", store_id, {"name": _name(name)})
        return {"oldName": store["name"], "storeId": store_id}

    def drop(self, user_id: str, store_id: str) -> None:
        """Delete a store, its entries and who was told of its changes; nobody is told of that."""
        self._owned(user_id, store_id)
        for collection in ("store_webhooks", "store_entries"):
            self._documents.delete_many(collection, [Where("storeId", "eq", store_id)])
        self._documents.delete("stores", store_id)

    # -- entries

    def get(self, user_id: str, store_id: str, key: str) -> Doc | None:
        self._owned(user_id, store_id)
        doc = self._documents.get("store_entries", _entry_id(store_id, key))
        return entry_json(doc) if doc else None

    def set(self, user_id: str, store_id: str, key: str, value: Any, *, op_id: str | None = None) -> Doc:
        """→ {key, oldValue, newValue, createdAt, updatedAt}."""
        return self.modify(user_id, store_id, key, lambda _old: value, op_id=op_id)

    def modify(
        self, user_id: str, store_id: str, key: str, change: Callable[[Any], Any], *, op_id: str | None = None
    ) -> Doc:
        """Set the value to `change(old value or None)`; called again when somebody was faster. → as `set`.

        Raises NotFound (store), BadRequest (key, value that is not JSON), TooLarge, Conflict (never came through).
        """
        self._owned(user_id, store_id)
        entry_id = _entry_id(store_id, key)
        for attempt in range(ATTEMPTS):
            current = self._documents.get("store_entries", entry_id)
            if (done := _done(current, op_id)) is not None:
                assert current is not None
                self._watchers.changed(current, done["type"], done["id"], done["old"])
                return _change_json(current, done["old"], done["new"])
            old = current.get("value") if current else None
            entry = self._changed(current, user_id, store_id, key, _checked(change(copy.deepcopy(old)), key), op_id)
            if self._replace(current, entry):
                self._watchers.changed(entry, "update" if current else "insert", op_id or entry["version"], old)
                return _change_json(entry, old, entry["value"])
            _pause(attempt)
        raise Conflict(f"{key!r} is being changed by too many at once; try again")

    def patch(self, user_id: str, store_id: str, key: str, changes: Mapping[str, Any]) -> Doc:
        """Set `value` and rename to `key`, whichever is given. → the entry.

        Raises NotFound, BadRequest, and Conflict when an entry of the new name exists.
        """
        self._owned(user_id, store_id)
        new_key = changes.get("key", key)
        new_id = _entry_id(store_id, new_key)
        for attempt in range(ATTEMPTS):
            current = self._documents.get("store_entries", _entry_id(store_id, key))
            if current is None:
                raise NotFound(f"there is no entry {key!r} in this store")
            value = _checked(changes["value"], key) if "value" in changes else current.get("value")
            entry = self._changed(current, user_id, store_id, new_key, value, None)
            if new_id == current["_id"]:
                if self._replace(current, entry):
                    self._watchers.changed(entry, "update", entry["version"], current.get("value"))
                    return entry_json(entry)
            elif self._rename(current, entry):
                self._watchers.changed(current, "delete", current["version"])
                self._watchers.changed(entry, "insert", entry["version"])
                return entry_json(entry)
            _pause(attempt)
        raise Conflict(f"{key!r} is being changed by too many at once; try again")

    def remove(self, user_id: str, store_id: str, key: str) -> Doc:
        """→ {key, oldValue}; a missing key is no error."""
        self._owned(user_id, store_id)
        return {"key": key, "oldValue": (self._remove(_entry_id(store_id, key)) or {}).get("value")}

    def remove_many(self, user_id: str, entries: Iterable[tuple[str, str]]) -> int:
        """Delete (store id, key) pairs. → how many there were. Raises NotFound before anything is deleted."""
        pairs = [(store_id, _entry_id(store_id, key)) for store_id, key in entries]
        for store_id in {store_id for store_id, _ in pairs}:
            self._owned(user_id, store_id)
        return sum(self._remove(entry_id) is not None for _, entry_id in pairs)

    def clear(self, user_id: str, store_id: str) -> int:
        """→ how many entries were deleted."""
        self._owned(user_id, store_id)
        watchers = self._watchers.of(store_id, "delete")
        if not watchers:
            return self._documents.delete_many("store_entries", [Where("storeId", "eq", store_id)])
        count = 0
        for page in self._pages(store_id):
            count += self._documents.delete_many("store_entries", [Where("_id", "in", [doc["_id"] for doc in page])])
            self._watchers.removed(page, watchers)
        return count

    # -- reading many

    def entries(self, user_id: str, store_id: str, query: Query = ALL) -> list[Doc]:
        """The entries a listing asks for. → [{key, value, storeId, createdAt, updatedAt}]."""
        self._owned(user_id, store_id)
        return [entry_json(doc) for doc in self._documents.find("store_entries", _within(store_id, query))]

    def count(self, user_id: str, store_id: str, query: Query = ALL) -> int:
        self._owned(user_id, store_id)
        return self._documents.count("store_entries", _within(store_id, query))

    def find(
        self, user_id: str, store_id: str, *, pattern: str | None = None, query: Mapping[str, Any] | None = None,
        sort: str | None = None, limit: int | None = None, offset: int = 0,
    ) -> list[Doc]:  # fmt: skip
        """`pattern`: regular expression on keys; `query`: see `engine.rules.entry_filter`; `sort`: "key:1".

        Raises BadRequest for an operator, expression or sort that is not understood.
        """
        where = [Where("key", "regex", pattern)] if pattern else []
        order = _sort(sort) or (("key", 1),)
        if not query:
            listing = Query(where=tuple(where), sort=order, limit=limit, offset=offset)
            return self.entries(user_id, store_id, listing)
        self._owned(user_id, store_id)
        holds = compile_filter(query)
        where += [Where(path, "eq", value) for path, value in equalities(query).items() if path in ("key", "value")]
        if order == (("key", 1),):
            docs: Iterable[Doc] = self._scan(store_id, where)
        else:
            docs = self._documents.find("store_entries", _within(store_id, Query(where=tuple(where), sort=order)))
        found: list[Doc] = []
        for entry in map(entry_json, docs):
            if limit is not None and len(found) >= offset + limit:
                break
            if holds(entry):
                found.append(entry)
        return found[offset:]

    def export(self, user_id: str, store_id: str) -> Iterator[Doc]:
        """All entries, by key, read page by page while they are consumed."""
        self._owned(user_id, store_id)
        return map(entry_json, self._scan(store_id))

    # -- who is told of changes

    def register_webhook(
        self, user_id: str, store_id: str, flow_id: str, component_id: str, events: Iterable[str] = EVENTS
    ) -> None:
        self._owned(user_id, store_id)
        self._watchers.register(store_id, flow_id, component_id, events)

    def unregister_webhook(self, store_id: str, component_id: str) -> None:
        self._watchers.unregister(store_id, component_id)

    # -- documents

    def _owned(self, user_id: str, store_id: str) -> Doc:
        store = self._documents.get("stores", store_id) if isinstance(store_id, str) else None
        if store is None or store["userId"] != user_id:
            raise NotFound(f"there is no store {store_id!r}; see GET /stores")
        return store

    def _changed(
        self, current: Doc | None, user_id: str, store_id: str, key: str, value: Any, op_id: str | None
    ) -> Doc:
        now = self._clock.now()
        entry = {
            "_id": _entry_id(store_id, key), "storeId": store_id, "key": key, "value": value, "userId": user_id,
            "createdAt": current["createdAt"] if current else now, "updatedAt": now,
            "version": object_id(), "ops": list(current["ops"]) if current else [],
        }  # fmt: skip
        if op_id is not None:
            done = {"id": op_id, "type": "update" if current else "insert", "new": value}
            done["old"] = current.get("value") if current else None
            entry["ops"] = _recent([*entry["ops"], done])
        return entry

    def _replace(self, current: Doc | None, entry: Doc) -> bool:
        if current is None:
            return self._documents.insert("store_entries", entry)
        changes = {name: entry[name] for name in ("value", "updatedAt", "version", "ops")}
        expect = [Where("version", "eq", current["version"])]
        return self._documents.update("store_entries", entry["_id"], changes, expect)

    def _rename(self, current: Doc, entry: Doc) -> bool:
        """The new entry first: a crash in between leaves the value twice rather than not at all."""
        if not self._documents.insert("store_entries", entry):
            raise Conflict(f"there is an entry {entry['key']!r} in this store already; delete it or choose another key")
        if self._delete_version(current):
            return True
        self._delete_version(entry)
        return False

    def _remove(self, entry_id: str) -> Doc | None:
        for attempt in range(ATTEMPTS):
            if (current := self._documents.get("store_entries", entry_id)) is None:
                return None
            if self._delete_version(current):
                self._watchers.changed(current, "delete", current["version"])
                return current
            _pause(attempt)
        raise Conflict(f"{entry_id.partition(':')[2]!r} is being changed by too many at once; try again")

    def _delete_version(self, entry: Doc) -> bool:
        same = [Where("_id", "eq", entry["_id"]), Where("version", "eq", entry["version"])]
        return self._documents.delete_many("store_entries", same) == 1

    def _scan(self, store_id: str, where: Iterable[Where] = ()) -> Iterator[Doc]:
        return (doc for page in self._pages(store_id, where) for doc in page)

    def _pages(self, store_id: str, where: Iterable[Where] = ()) -> Iterator[list[Doc]]:
        """By key, page after page: each page starts behind the last key, so no page is dearer than the first."""
        conditions = (Where("storeId", "eq", store_id), *where)
        after: tuple[Where, ...] = ()
        while True:
            query = Query(where=(*conditions, *after), sort=(("key", 1),), limit=PAGE)
            page = self._documents.find("store_entries", query)
            if page:
                yield page
            if len(page) < PAGE:
                return
            after = (Where("key", "gt", page[-1]["key"]),)


def _within(store_id: str, query: Query) -> Query:
    return _all_fields(query, Where("storeId", "eq", store_id), "key")


def _all_fields(query: Query, only: Where, order: str) -> Query:
    """What is shown is made from whole documents; a projection is for whoever shows it."""
    where = (only, *query.where)
    return replace(query, where=where, sort=query.sort or ((order, 1),), include=(), exclude=())


def _entry_id(store_id: Any, key: Any) -> str:
    if not isinstance(key, str) or not key:
        raise BadRequest("the key of an entry must be a text that is not empty")
    if len(key) > MAX_KEY:
        raise BadRequest(f"the key of an entry has at most {MAX_KEY} characters, this one has {len(key)}")
    return f"{store_id}:{key}"


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name.strip() or len(name) > MAX_NAME:
        raise BadRequest(f"the name of a store must be a text of 1 to {MAX_NAME} characters")
    return name.strip()


def _checked(value: Any, key: str) -> Any:
    try:
        size = len(orjson.dumps(value))
    except TypeError as error:
        raise BadRequest(f"the value of {key!r} is not JSON: {error}") from error
    if size > MAX_VALUE:
        raise TooLarge(f"the value of {key!r} has {size} bytes; a store keeps at most {MAX_VALUE}: save a file instead")
    return value


def _recent(operations: list[Doc]) -> list[Doc]:
    """The newest operations, as many as fit: they travel with every change of the entry."""
    kept: list[Doc] = []
    budget = OPERATION_BYTES
    for operation in reversed(operations[-OPERATIONS:]):
        budget -= len(orjson.dumps(operation))
        if kept and budget < 0:
            break
        kept.append(operation)
    return kept[::-1]


def _done(entry: Doc | None, op_id: str | None) -> Doc | None:
    if entry is None or op_id is None:
        return None
    return next((operation for operation in entry["ops"] if operation["id"] == op_id), None)


def _pause(attempt: int) -> None:
    """Let the others through before the next try; a crowd spreads out."""
    time.sleep(random.uniform(0, min(0.02, 0.001 * attempt)))  # noqa: S311


def _sort(text: str | None) -> tuple[tuple[str, int], ...]:
    if not text:
        return ()
    path, _, direction = text.partition(":")
    if not path or direction not in ("", "1", "-1"):
        raise BadRequest(f'sort must look like "key:1" or "updatedAt:-1", not {text!r}')
    return ((path, -1 if direction == "-1" else 1),)


def _store_json(doc: Doc) -> Doc:
    return {"name": doc["name"], "storeId": doc["_id"]}


def _change_json(entry: Doc, old: Any, new: Any) -> Doc:
    times = {"createdAt": iso(entry["createdAt"]), "updatedAt": iso(entry["updatedAt"])}
    return {"key": entry["key"], "oldValue": old, "newValue": new, **times}
