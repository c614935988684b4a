"""Adapters on the MongoDB server that all tests of this process share, emptied, and a clock that stands still."""

from __future__ import annotations

import pytest

from engine.adapters.mongo.connection import Mongo
from engine.adapters.mongo.documents import MongoDocuments
from tests import mongo_server


class StandingClock:
    def __init__(self) -> None:
        self.ms = 1_790_000_000_000

    def now(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def mongo() -> Mongo:
    connection, _ = mongo_server.shared()
    mongo_server.empty(connection)
    return connection


@pytest.fixture
def documents(mongo: Mongo) -> MongoDocuments:
    return mongo_server.shared()[1]
