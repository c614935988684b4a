"""State in MongoDB: one document per owner and key, and one per operation of the last hour.

What many threads ask for at a time is carried out together, in one transaction: they share its round
trips and its wait for the disk, and do not fight over a key that all of them count up. Between processes
the server finds the conflicts, and the later one begins anew.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pymongo import DeleteOne, InsertOne, ReplaceOne, UpdateOne
from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from engine.adapters.mongo import encoding, operations
from engine.adapters.mongo.connection import TRANSACTION_SECONDS, Mongo, translated
from engine.adapters.state_verbs import VERBS
from engine.errors import BadRequest, TooLarge
from engine.ports import Clock, Doc, StateChange, StateVerb

COLLECTION = "state"
GROUP = 128
"""Operations carried out together, at most."""

_WHOLE = ("clear", "save")
"""Verbs that concern all keys of an owner."""

_WHOLE_SECONDS = 60.0
"""A transaction may not take longer on the server, unless it is told otherwise."""


@dataclass(slots=True, eq=False)
class _Job:
    """Changes that are carried out together or not at all. `op_id` belongs to the owner of the first."""

    changes: Sequence[StateChange]
    op_id: str | None = None
    done: bool = False
    result: Any = None
    error: BaseException | None = None

    @property
    def operation(self) -> str | None:
        return None if self.op_id is None else operations.operation_id(self.changes[0].owner, self.op_id)


class MongoState:
    """`ports.State`."""

    def __init__(self, mongo: Mongo, clock: Clock) -> None:
        self._mongo = mongo
        self._clock = clock
        self._waiting: deque[_Job] = deque()
        self._working = False
        self._turn = threading.Condition()
        with translated("the state"):
            self._collection.create_indexes([operations.INDEX])

    @property
    def _collection(self) -> Collection[Doc]:
        return self._mongo.database[COLLECTION]

    def load(self, owner: str) -> dict[str, Any]:
        first = len(_place(owner, ""))
        with translated(f"the state of {owner}"):
            found = list(self._collection.find({"_id": _range(owner)}))
        return {doc["_id"][first:]: encoding.decode(doc)["value"] for doc in found}

    def get(self, owner: str, key: str) -> Any:
        with translated(f"the state of {owner}"):
            found = self._collection.find_one({"_id": _place(owner, key)})
        return None if found is None else encoding.decode(found)["value"]

    def apply(self, owner: str, op_id: str, verb: StateVerb, key: str, value: Any = None) -> Any:
        """Raises BadRequest when `value` is not JSON or what is stored does not suit the verb, TooLarge."""
        job = _Job((StateChange(owner, verb, key, value),), op_id)
        self._waiting.append(job)
        while not job.done:
            self._take_turn(job)
        if job.error is not None:
            raise job.error
        return job.result

    def drop(self, owner: str) -> None:
        """Remove all keys. Operation ids stay their hour: a late redelivery must not fill the state again."""
        with translated(f"the state of {owner}"):
            self._collection.delete_many({"_id": _range(owner)})

    def _take_turn(self, job: _Job) -> None:
        """Wait until another thread has carried out the job, or nobody is at work: then work for all that wait."""
        with self._turn:
            self._turn.wait_for(lambda: job.done or not self._working)
            if job.done:
                return
            self._working = True
            jobs = [self._waiting.popleft() for _ in range(min(GROUP, len(self._waiting)))]
        try:
            self._carry_out(jobs)
        finally:
            with self._turn:
                self._working = False
                self._turn.notify_all()

    def _carry_out(self, jobs: list[_Job]) -> None:
        whole = any(change.verb in _WHOLE for job in jobs for change in job.changes)
        try:
            self._mongo.transaction(
                lambda session: perform(self._collection, session, jobs, self._clock.now()),
                seconds=_WHOLE_SECONDS if whole else TRANSACTION_SECONDS,
                what="the state",
            )
        except BaseException as error:  # noqa: BLE001 – it concerns all of them
            for job in jobs:
                job.error = error
        for job in jobs:
            job.done = True


def perform(collection: Collection[Doc], session: ClientSession, jobs: Sequence[_Job], now: int) -> None:
    """Carry out jobs in a transaction; it may be begun anew, and then this is called again.

    What cannot be done is noted in the job, and the others go on.
    """
    cells = _Cells(collection, session, jobs)
    for job in jobs:
        job.error = None
        seen = cells.operations.get(job.operation or "")
        if operations.counts(seen, now):
            assert seen is not None
            job.result = seen["result"]
            continue
        try:
            for change in job.changes:
                job.result = VERBS[change.verb](cells, change.owner, change.key, change.value)
        except (BadRequest, TooLarge) as error:
            cells.forget()
            job.error = error
            continue
        cells.keep()
        if job.operation is not None:
            cells.operations[job.operation] = {"at": now, "result": job.result}
            cells.writes.append(operations.remembering(job.operation, job.result, now))
    cells.write()


def change(collection: Collection[Doc], session: ClientSession, changes: Sequence[StateChange]) -> None:
    """Changes that are part of a settlement, in its transaction. Raises as `MongoState.apply`."""
    job = _Job(changes)
    perform(collection, session, [job], 0)
    if job.error is not None:
        raise job.error


class _Value(NamedTuple):
    """A new value, and its document; none when the key is removed."""

    value: Any
    stored: Doc | None


_ABSENT = _Value(None, None)


class _Cells:
    """`state_verbs.Cells`: what the jobs of one transaction read and change, as they leave it to each other."""

    def __init__(self, collection: Collection[Doc], session: ClientSession, jobs: Sequence[_Job]) -> None:
        self._collection = collection
        self._session = session
        self.operations: dict[str, Doc] = {}
        self.writes: list[UpdateOne] = []
        self._stored: dict[str, Any] = {}
        self._changed: dict[str, _Value] = {}
        self._pending: dict[str, _Value] = {}
        changes = [change for job in jobs for change in job.changes]
        self._load_owners({change.owner for change in changes if change.verb in _WHOLE})
        single = [_place(change.owner, change.key) for change in changes if change.verb not in _WHOLE]
        self._load([*single, *(job.operation for job in jobs if job.operation is not None)])

    def _load_owners(self, owners: Iterable[str]) -> None:
        """Which keys they have: nobody asks for the values."""
        ranges = [{"_id": _range(owner)} for owner in owners]
        if ranges:
            for doc in self._collection.find({"$or": ranges}, {"_id": 1}, session=self._session):
                self._stored[doc["_id"]] = None

    def _load(self, ids: Sequence[str]) -> None:
        for doc in self._collection.find({"_id": {"$in": ids}}, session=self._session) if ids else ():
            if "at" in doc:
                self.operations[doc["_id"]] = encoding.decode(doc)
            else:
                self._stored[doc["_id"]] = encoding.decode(doc)["value"]

    def get(self, owner: str, key: str) -> Any:
        place = _place(owner, key)
        for values in (self._pending, self._changed):
            if place in values:
                return values[place].value
        return self._stored.get(place)

    def put(self, owner: str, key: str, value: Any) -> None:
        stored = encoding.encode({"value": value}, f"state key {key!r}: the value", any_keys=True)
        self._pending[_place(owner, key)] = _Value(value, stored)

    def remove(self, owner: str, key: str) -> None:
        self._pending[_place(owner, key)] = _ABSENT

    def clear(self, owner: str) -> None:
        first = _place(owner, "")
        known = [*self._stored, *self._changed, *self._pending]
        self._pending.update((place, _ABSENT) for place in known if place.startswith(first))

    def keep(self) -> None:
        self._changed.update(self._pending)
        self._pending.clear()

    def forget(self) -> None:
        self._pending.clear()

    def write(self) -> None:
        writes: list[Any] = [*self.writes]
        for place, (_, stored) in self._changed.items():
            if stored is None:
                writes += [DeleteOne({"_id": place})] if place in self._stored else []
            elif place in self._stored:
                writes.append(ReplaceOne({"_id": place}, stored))
            else:
                writes.append(InsertOne({"_id": place, **stored}))
        if writes:
            self._collection.bulk_write(writes, ordered=False, session=self._session)


def _place(owner: str, key: str) -> str:
    """The id of a value. A key may be any text; that of an owner has no NUL."""
    return f"v{owner}\0{key}"


def _range(owner: str) -> dict[str, str]:
    return {"$gte": f"v{owner}\0", "$lt": f"v{owner}\x01"}
