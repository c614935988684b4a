"""MongoDB servers for tests: one for all tests of a process, emptied for each, or one to ill-treat."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from pymongo import WriteConcern

from deploy.local import Missing, free_port, mongo
from engine.adapters.mongo.connection import Mongo, connect
from engine.adapters.mongo.documents import MongoDocuments
from tests import needs


def start(folder: Path, port: int | None = None) -> mongo.Mongo:
    """One of the caller's own, to be stopped by them. Where there is none the test is skipped, with CI=true fails."""
    try:
        return mongo.start(folder, port or free_port(), die_with_parent=True)
    except Missing as missing:
        needs.missing(str(missing))


@cache
def url() -> str:
    """Of the server that all tests of this process use; it ends with the process."""
    folder = Path(tempfile.mkdtemp(prefix="headrace-mongo-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    server = start(folder)
    atexit.register(server.kill)
    return server.url


@cache
def shared() -> tuple[Mongo, MongoDocuments]:
    """A database there, with all collections and their indexes: making them takes most of a second."""
    connection = connect(url(), database="contract")
    atexit.register(connection.close)
    return connection, MongoDocuments(connection)


def empty(connection: Mongo) -> None:
    """Remove all documents."""
    database = connection.database
    for name in database.list_collection_names():
        database.get_collection(name, write_concern=WriteConcern(w=1)).delete_many({})
