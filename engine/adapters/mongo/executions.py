"""Executions of the cluster mode: sums of accounting records, a document each (design.md §4 "Executions").

Several indexers may add to one execution at the same time, and add a batch again. So a document carries the ids of
the records it has counted and a version: what is new is added here and written on the condition that the version
is still the same, for all executions of a batch in one request; who comes too late looks again. The document of an
execution of very many records would grow with them: beyond `SEEN` ids these move to documents of their own, which
is done first, and then known from both.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pymongo import IndexModel, InsertOne, ReplaceOne, UpdateOne, errors
from pymongo.collection import Collection as Table

from engine.adapters.mongo import execution_query as queries
from engine.adapters.mongo.connection import Mongo, translated
from engine.adapters.mongo.execution_query import Having, Pair, key_of
from engine.adapters.runlog.sums import COLUMNS, Row, folded
from engine.errors import Unavailable
from engine.model.execution import ExecutionQuery, ExecutionRow, Status
from engine.ports import Doc

SEEN = 200
"""Ids of counted records in the document of an execution."""

REMEMBERED_SECONDS = 7 * 86_400
"""How long the ids of larger executions are known. A batch is appended again within minutes."""

ROUNDS = 60
_ID_BYTES = 12
_DUPLICATE = 11_000
_OPEN = ("running", "waiting")
_WHAT = "executions"
_INDEXES = [
    IndexModel([("flowId", 1), ("started", 1), ("correlationId", 1)]),
    IndexModel([("started", 1), ("correlationId", 1)]),
    # most executions succeed at once and are in neither of these
    IndexModel([("other", 1), ("flowId", 1), ("started", 1)], partialFilterExpression={"other": {"$exists": True}}),
    IndexModel([("last", 1)], partialFilterExpression={"other": "waiting"}),
]
_EXPIRY = IndexModel("at", expireAfterSeconds=REMEMBERED_SECONDS)

Batch = dict[str, dict[bytes, Doc]]
"""Records by execution and then by `_digest` of their ids."""


class MongoExecutions:
    """`engine.adapters.elastic.logindex.ExecutionSums`. Indexes that are missing are made at once."""

    def __init__(self, mongo: Mongo, prefix: str = "log_") -> None:
        self._mongo = mongo
        self._prefix = prefix
        with translated(_WHAT):
            self._executions.create_indexes(_INDEXES)
            self._counted.create_indexes([_EXPIRY])

    @property
    def _executions(self) -> Table[Doc]:
        return self._mongo.database[f"{self._prefix}executions"]

    @property
    def _counted(self) -> Table[Doc]:
        return self._mongo.database[f"{self._prefix}counted"]

    # -- writing

    def append(self, deliveries: Sequence[Doc], stops: Sequence[Doc]) -> None:
        """Add up what was not added before. Raises Unavailable; all of it may then be appended again."""
        with translated(_WHAT):
            if deliveries:
                self._count(_by_execution(deliveries))
            for record in stops:
                self._stop(record)

    def _count(self, left: Batch) -> None:
        # An execution whose beginning is among the records is most likely new: it is not looked for first.
        looked = [key for key, records in left.items() if all(r.get("trigger") is None for r in records.values())]
        for turn in range(ROUNDS):
            stored = {doc["_id"]: doc for doc in self._executions.find({"_id": {"$in": looked}})} if looked else {}
            left = self._add(left, stored)
            if not left:
                return
            looked = list(left)
            time.sleep(min(0.005 * 2**turn, 0.2))  # others work on the same ones
        raise Unavailable(f"{len(left)} executions are changed by others all the time", code="CONTENDED")

    def _add(self, batch: Batch, stored: Mapping[str, Doc]) -> Batch:
        """What has to be looked at again."""
        known = self._known(batch, stored)
        writes: list[InsertOne[Doc] | ReplaceOne[Doc]] = []
        keys: list[str] = []
        spilled: list[Doc] = []
        for key, records in batch.items():
            before = stored.get(key)
            fresh = _fresh(key, records, before, known)
            if not fresh:
                continue
            ids = (before["seen"] if before else b"") + b"".join(fresh)
            (row,) = folded(fresh.values())
            doc = _merged(before, row) if before else dict(zip(COLUMNS, row, strict=True))
            large = len(ids) > SEEN * _ID_BYTES
            if large:
                spilled += ({"_id": _place(key, id_), "at": datetime.now(UTC)} for id_ in _split(ids))
            doc |= {"_id": key, "v": before["v"] + 1 if before else 1, "seen": b"" if large else ids}
            doc["spilled"] = large or bool(before and before.get("spilled"))
            keys.append(key)
            writes.append(
                ReplaceOne({"_id": key, "v": before["v"]}, _complete(doc)) if before else InsertOne(_complete(doc))
            )
        if spilled:
            _bulk(self._counted, [InsertOne(doc) for doc in spilled])
        return {key: batch[key] for key in self._write(writes, keys)}

    def _known(self, batch: Batch, stored: Mapping[str, Doc]) -> set[bytes]:
        """Of executions with many records: what is counted, as `_place`."""
        asked = [_place(key, id_) for key, doc in stored.items() if doc.get("spilled") for id_ in batch[key]]
        return {doc["_id"] for doc in self._counted.find({"_id": {"$in": asked}}, {"_id": 1})} if asked else set()

    def _write(self, writes: Sequence[InsertOne[Doc] | ReplaceOne[Doc]], keys: Sequence[str]) -> set[str]:
        """The keys of those that may not have been written, because somebody else was faster."""
        if not writes:
            return set()
        failed, matched = _bulk(self._executions, writes)
        again = {keys[number] for number in failed}
        replaced = {key for key, write in zip(keys, writes, strict=True) if isinstance(write, ReplaceOne)}
        return again | replaced if matched < len(replaced) else again

    def _stop(self, record: Doc) -> None:
        """A run ended (type "flow-stopped"): what is open of it, and of runs before, is cancelled."""
        theirs = {"flowId": record["flowId"], "run": {"$lte": record["run"]}, "other": {"$in": _OPEN}}
        last = {"$max": ["$last", record["created"]]}
        reason = {"$literal": record["reason"]}
        change = {"reason": reason, "status": "cancelled", "other": "cancelled", "last": last, "ended": last}
        self._executions.update_many(theirs, [{"$set": {**change, "v": {"$add": ["$v", 1]}}}])

    def conclude(self, rows: Sequence[ExecutionRow]) -> None:
        """They wait no longer: ended, unless a record has come since the row was read."""
        failed = {"$gt": ["$unprocessed", 0]}
        change = {
            "waits": 0,
            "status": {"$cond": [failed, "failed", "succeeded"]},
            "other": {"$cond": [failed, "failed", "$$REMOVE"]},
            "ended": "$last",
            "v": {"$add": ["$v", 1]},
        }
        updates = [
            UpdateOne(
                {"_id": key_of(row.correlation_id, row.flow_id), "last": row.last, "other": "waiting"},
                [{"$set": change}],
            )
            for row in rows
        ]
        if updates:
            with translated(_WHAT):
                self._executions.bulk_write(updates, ordered=False)

    def delete(self, before_ms: int | None, flow_ids: Sequence[str]) -> None:
        """Those without a record since `before_ms` and (if given) of `flow_ids`."""
        theirs: Doc = {}
        if before_ms is not None:
            theirs |= {"started": {"$lt": before_ms}, "last": {"$lt": before_ms}}
        if flow_ids:
            theirs["flowId"] = {"$in": list(flow_ids)}
        with translated(_WHAT):
            self._executions.delete_many(theirs)

    # -- reading

    def find(
        self, query: ExecutionQuery, among: Collection[Pair] | None = None, having: Having | None = None
    ) -> list[ExecutionRow]:
        return queries.find(self._executions, query, among, having)

    def count(self, query: ExecutionQuery, among: Collection[Pair] | None = None, having: Having | None = None) -> int:
        return queries.count(self._executions, query, among, having)

    def waiting(self, since: int, limit: int) -> list[ExecutionRow]:
        return queries.waiting(self._executions, since, limit)


# -- records


def _digest(record_id: str) -> bytes:
    return hashlib.blake2b(record_id.encode(), digest_size=_ID_BYTES).digest()


def _place(key: str, digest: bytes) -> bytes:
    """The id of a document that says: this record is counted for that execution."""
    return hashlib.blake2b(key.encode() + digest, digest_size=16).digest()


def _by_execution(records: Sequence[Doc]) -> Batch:
    batch: Batch = {}
    for record in records:
        key = key_of(record["correlationId"], record["flowId"])
        batch.setdefault(key, {})[_digest(record["id"])] = record
    return batch


def _fresh(key: str, records: dict[bytes, Doc], before: Doc | None, known: set[bytes]) -> dict[bytes, Doc]:
    """Those not counted yet."""
    if before is None:
        return records
    seen = set(_split(before["seen"]))
    return {
        id_: record
        for id_, record in records.items()
        if id_ not in seen and (not known or _place(key, id_) not in known)
    }


def _split(ids: bytes) -> Iterator[bytes]:
    return (ids[start : start + _ID_BYTES] for start in range(0, len(ids), _ID_BYTES))


# -- sums


def _merged(old: Doc, row: Row) -> Doc:
    """The columns of an execution with what a batch adds to it."""
    new = dict(zip(COLUMNS, row, strict=True))
    doc = {name: old.get(name) for name in COLUMNS}
    if new["run"] > doc["run"] or (new["run"] == doc["run"] and doc["reason"] is None and old["status"] in _OPEN):
        doc["reason"] = new["reason"]
    for name in ("open", "steps", "errors", "unprocessed"):
        doc[name] += new[name]
    for name in ("trigger", "replayOf"):
        doc[name] = new[name] if doc[name] is None else doc[name]
    for name in ("run", "last", "waits"):
        doc[name] = max(doc[name], new[name])
    doc["started"] = min(doc["started"], new["started"])
    doc["failedAt"] = doc["failedAt"] if new["failedAt"] is None else new["failedAt"]
    return doc


def _complete(doc: Doc) -> Doc:
    """With what follows from the sums; without what is None."""
    status = _status(doc)
    doc["status"] = status
    doc["other"] = None if status == "succeeded" else status
    doc["ended"] = None if status in _OPEN else doc["last"]
    return {name: value for name, value in doc.items() if value is not None}


def _status(doc: Doc) -> Status:
    if doc["reason"] is not None:
        return "cancelled"
    if doc["open"] != 0:
        return "running"
    if doc["waits"]:
        return "waiting"
    return "failed" if doc["unprocessed"] > 0 else "succeeded"


def _bulk(table: Table[Doc], writes: Sequence[Any]) -> tuple[list[int], int]:
    """The places of those whose id exists already, and how many documents were matched."""
    try:
        return [], table.bulk_write(writes, ordered=False).matched_count
    except errors.BulkWriteError as error:
        details = error.details or {}
        failed = details.get("writeErrors", [])
        if details.get("writeConcernErrors") or any(one["code"] != _DUPLICATE for one in failed):
            raise
        return [one["index"] for one in failed], details["nMatched"]
