"""Documents and the state of components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Doc = dict[str, Any]
Op = Literal["eq", "ne", "lt", "lte", "gt", "gte", "in", "nin", "starts", "ends", "contains", "regex", "exists"]


@dataclass(frozen=True, slots=True)
class Where:
    """One condition on a dotted path (numeric segments index arrays).

    `eq`, `in`, `starts` … on an array hold when one element holds. `regex` and `contains`
    ignore case. `exists` takes a bool; a null value counts as absent, and `eq None` is
    the same as absent. `ne` and `nin` are the negations of `eq` and `in`.

    On its way a path may pass one array of objects without a number ("sharedWith.email"):
    then it holds when it holds in one of them. Values are compared within their type only
    (numbers, texts, booleans). Regular expressions are RE2's: no look-around, no back
    references, linear time. Raises BadRequest for an empty segment, a quote or backslash in
    a path, and for values that cannot be compared (objects, lists, NaN).
    """

    path: str
    op: Op
    value: Any = None


@dataclass(frozen=True, slots=True)
class Query:
    """All of `where` and, if given, at least one of `any_of` must hold.

    `sort` is [(path, 1 | -1)], the absent before all values, ties by `_id`. `include` or
    `exclude` are top-level field names (never both; `_id` is always returned). `limit=None`
    returns everything.
    """

    where: tuple[Where, ...] = ()
    any_of: tuple[Where, ...] = ()
    sort: tuple[tuple[str, int], ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    limit: int | None = None
    offset: int = 0


class Documents(Protocol):
    """Named collections of JSON documents; every document has a string `_id`.

    Collections and their indexes are declared in `engine/model/collections.py`.
    Writes are durable when the call returns. `excess` tells by how many bytes a collection is over `limit`.
    """

    def get(self, collection: str, id: str) -> Doc | None: ...
    def find(self, collection: str, query: Query = ...) -> list[Doc]: ...
    def count(self, collection: str, query: Query = ...) -> int:
        """How many match; limit and offset do not matter."""

    def insert(self, collection: str, doc: Doc) -> bool:
        """False when the id exists already; the stored document is then unchanged.

        Raises Conflict when another unique index is violated.
        """

    def put(self, collection: str, doc: Doc) -> None:
        """Insert or replace by `_id`."""

    def update(self, collection: str, id: str, changes: Mapping[str, Any], expect: Sequence[Where] = ()) -> bool:
        """Set dotted paths (None removes the field) if the document exists and `expect` holds.

        Missing objects on the way are made. In an array a number is an existing item or the one
        after the last. Raises BadRequest for other paths, Conflict for a violated unique index.
        """

    def update_many(self, collection: str, where: Sequence[Where], changes: Mapping[str, Any]) -> int: ...
    def delete(self, collection: str, id: str) -> bool: ...
    def delete_many(self, collection: str, where: Sequence[Where], limit: int | None = None) -> int: ...
    def excess(self, collection: str, limit: int) -> int: ...
    def delete_oldest(self, collection: str, by: str, *, excess: int, limit: int) -> tuple[int, int]:
        """Delete those with the smallest `by` until `excess` bytes are gone, `limit` at most. → (how many, bytes)."""


StateVerb = Literal["set", "unset", "inc", "add_to_set", "remove_from_set", "clear", "save"]


class State(Protocol):
    """Key-value state of one owner ("component:<flow>:<id>", "flow:<id>", "service:<vendor.service>").

    Every change carries an operation id. An id seen in the last hour changes nothing and
    returns the first result, so a redelivered message cannot count twice (design.md §4.6).
    """

    def load(self, owner: str) -> dict[str, Any]: ...
    def get(self, owner: str, key: str) -> Any: ...
    def apply(self, owner: str, op_id: str, verb: StateVerb, key: str, value: Any = None) -> Any:
        """Result: the new value (`inc`), whether it changed (`add_to_set`, `remove_from_set`), else None.

        `save` replaces all keys by the mapping `value`; `clear` removes them. Raises BadRequest
        when the value is not JSON or what is stored does not suit the verb.
        """

    def drop(self, owner: str) -> None:
        """Remove all keys. Operation ids stay: a late redelivery must not fill the state again."""


@dataclass(frozen=True, slots=True)
class Write:
    """A document to store (or, with `doc=None`, to delete) within a settlement."""

    collection: str
    id: str
    doc: Doc | None


@dataclass(frozen=True, slots=True)
class StateChange:
    """A change of state within a settlement: `State.apply` without an operation id."""

    owner: str
    verb: StateVerb
    key: str
    value: Any = None
