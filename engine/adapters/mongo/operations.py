"""The operations of the last hour, so that a repeated one changes nothing (design.md §4.6).

Each is a document `{_id, at, result}` in the collection of the state, written in the transaction that
carries it out. The server removes it later by its own clock; what counts is `at`, by ours.
"""

from __future__ import annotations

from typing import Any

from pymongo import IndexModel, UpdateOne

from engine.adapters.mongo import encoding
from engine.ports import Doc

REMEMBER_MS = 3_600_000
_REMOVE_SECONDS = 2 * 3_600

INDEX = IndexModel("purge", name="purge", expireAfterSeconds=_REMOVE_SECONDS)


def operation_id(owner: str, op_id: str) -> str:
    """Owners are those of the state, and "file:<id>"."""
    return f"o{owner}\0{op_id}"


def counts(stored: Doc | None, now: int) -> bool:
    """It was carried out within the last hour."""
    return stored is not None and bool(stored["at"] > now - REMEMBER_MS)


def remembering(id: str, result: Any, now: int) -> UpdateOne:
    done = encoding.encode({"at": now, "result": result}, "the result of an operation")
    return UpdateOne({"_id": id}, {"$set": done, "$currentDate": {"purge": True}}, upsert=True)
