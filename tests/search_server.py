"""Search servers for tests: one for all tests of a process, emptied for each, or one to ill-treat."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

from deploy.local import NotStarted, free_port, search
from engine.adapters.elastic.connection import Connection
from engine.adapters.elastic.logindex import ElasticLogIndex, ExecutionSums
from engine.adapters.mongo.executions import MongoExecutions
from tests import mongo_server, needs


def start(folder: Path, port: int | None = None) -> search.Search:
    """A server of the caller's own, to be stopped by them. Where there is none the test is skipped, with CI=true fails.

    `HEADRACE_TEST_SEARCH` names another kind than the best.
    """
    kind = next((kind for kind in search.KINDS if kind == os.environ.get("HEADRACE_TEST_SEARCH")), None)
    try:
        return search.start(folder, port or free_port(), kind=kind, die_with_parent=True, short=True)
    except NotStarted as missing:
        needs.missing(str(missing))


@cache
def shared() -> search.Search:
    """The server that all tests of this process use; it ends with the process."""
    folder = Path(tempfile.mkdtemp(prefix="headrace-search-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    server = start(folder)
    atexit.register(server.kill)
    return server


def log_index(name: str) -> ElasticLogIndex:
    """On the shared servers. What it holds belongs to `name`, which is also the prefix of its indexes."""
    return on(shared(), executions(name), name)


def on(server: search.Search, executions: ExecutionSums, name: str = "flow") -> ElasticLogIndex:
    return ElasticLogIndex(server.url, executions, prefix=name, opensearch=opensearch(server))


@cache
def executions(name: str) -> MongoExecutions:
    mongo, _ = mongo_server.shared()
    return MongoExecutions(mongo, prefix=f"{name}_")


def opensearch(server: search.Search) -> bool:
    """Whether it needs the setting for OpenSearch."""
    return server.kind != "elasticsearch"


def empty(name: str) -> None:
    server = shared()
    connection = Connection(server.url, opensearch=opensearch(server))
    told = connection.call("GET", f"/{name}-*/_stats/docs", ignore_unavailable="true")
    for index in told["indices"]:
        connection.call("DELETE", f"/{index}", seconds=60.0)
    connection.close()
    mongo, _ = mongo_server.shared()
    for collection in (f"{name}_executions", f"{name}_counted"):
        mongo.database[collection].delete_many({})
