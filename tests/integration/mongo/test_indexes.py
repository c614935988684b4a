"""The server answers the questions that are asked often from an index."""

from __future__ import annotations

from typing import Any

import pytest

from engine.adapters.mongo import query as queries
from engine.adapters.mongo.connection import Mongo
from engine.adapters.mongo.documents import MongoDocuments
from engine.ports import Query, Where


def stages(mongo: Mongo, documents: MongoDocuments, collection: str, query: Query) -> list[str]:
    target = mongo.database[collection]
    cursor = target.find(documents._filter(collection, query.where, query.any_of), limit=query.limit or 0)
    if query.sort:
        cursor = cursor.sort(queries.order(query))
    plan: dict[str, Any] = cursor.explain()["queryPlanner"]["winningPlan"]
    found = []
    while plan:
        found.append(plan["stage"])
        plan = plan.get("inputStage", {})
    return found


@pytest.mark.parametrize(
    ("collection", "query", "sorts"),
    [
        ("users", Query((Where("username", "eq", "user 7"),)), False),
        ("users", Query((Where("email", "in", ["7@x", "8@x"]),)), False),
        ("timers", Query((Where("due", "lte", 5),), sort=(("due", 1),), limit=10), False),
        ("flows", Query((Where("stage", "in", ["running", "starting"]),)), False),
        ("flows", Query((Where("userId", "eq", "u1"),), sort=(("mtime", -1),), limit=10), True),
        ("gather_items", Query((Where("group", "eq", "g"), Where("taken", "exists", False))), False),
        ("gather_items", Query((Where("group", "starts", "flow:"),)), False),
        ("gather_groups", Query((Where("_id", "starts", "flow:"),)), False),
        ("unprocessed", Query((Where("flowId", "eq", "f"),), sort=(("created", 1),), limit=10), False),
    ],
)
def test_no_whole_collection_is_read(
    mongo: Mongo, documents: MongoDocuments, collection: str, query: Query, sorts: bool
) -> None:
    for number in range(50):
        documents.put(collection, {"_id": str(number), "username": f"user {number}", "email": f"{number}@x"})
    found = stages(mongo, documents, collection, query)
    assert "COLLSCAN" not in found
    assert ("SORT" in found) is sorts
