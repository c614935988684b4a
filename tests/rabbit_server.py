"""RabbitMQ servers for tests: one for all processes of a test run, or one to ill-treat."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pika

from deploy.local import Missing, free_port, rabbit, spawn
from engine.adapters.rabbit.bus import RabbitBus
from engine.adapters.rabbit.topology import QUEUES
from tests import needs

VHOSTS = ("main", *(f"gw{n}" for n in range(8)))
"""One for each process of a run, as pytest-xdist calls them."""


def start(folder: Path, nodes: int = 1) -> rabbit.Rabbit:
    """A broker of the caller's own, to be stopped by them.

    Where none is installed the test is skipped, and with CI=true fails.
    """
    try:
        return rabbit.start_nodes(folder, [free_port() for _ in range(nodes)], die_with_parent=True)
    except Missing as missing:
        needs.missing(str(missing))


@cache
def shared_url() -> str:
    """Of the run's broker, with a virtual host for this process. It ends when all processes of the run have."""
    if not rabbit.installed():
        needs.missing("rabbitmq-server is not installed")
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or str(os.getpid())
    folder = Path(tempfile.gettempdir()) / f"headrace-rabbit-{run}"
    folder.mkdir(exist_ok=True)
    users = (folder / "users").open("w")
    fcntl.flock(users, fcntl.LOCK_SH)  # held as long as this process lives, however it ends
    atexit.register(users.close)
    note = folder / "url"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not note.exists():
            # by a process of its own that ends: the broker must not be the child of one of the tests' processes
            subprocess.run([sys.executable, "-m", "tests.rabbit_server", "start", folder], check=True)
    return note.read_text().replace("%2F", os.environ.get("PYTEST_XDIST_WORKER", VHOSTS[0]))


def _start_shared(folder: Path) -> None:
    """The broker, and who ends it: both outlive this process."""
    broker = rabbit.start(folder, free_port())
    spawn(
        "keeper",
        [sys.executable, "-m", "tests.rabbit_server", "keep", folder],
        folder,
        env={"PYTHONPATH": str(Path.cwd())},
    )
    broker.add_vhosts(*VHOSTS)
    (folder / "url").write_text(broker.url)


def _keep(folder: Path) -> None:
    """End the broker as soon as no process uses it."""
    with (folder / "users").open("w") as users:
        fcntl.flock(users, fcntl.LOCK_EX)
    for process in rabbit.processes(folder):
        process.kill()
    shutil.rmtree(folder, ignore_errors=True)


def clear(url: str) -> None:
    """Delete all queues of the virtual host."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        for queue in QUEUES:
            channel.queue_delete(queue)


def publish(url: str, queue: str, body: bytes) -> None:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("", queue, body, mandatory=True)


def on_connection(bus: RabbitBus, work: Callable[[], None]) -> None:
    """Do something on the connection's thread, before anything else that waits there."""
    bus._link.call(work)


def cut(bus: RabbitBus) -> None:
    """As if the network had failed for a moment."""
    on_connection(bus, lambda: bus._link.cut("cut by a test"))


def kill(bus: RabbitBus) -> None:
    """As if the process had been killed: from now on nothing reaches the broker. May be called on any thread."""
    link = bus._link

    def end() -> None:
        link._closing = True
        if link._connection is None:
            link._loop.stop()
        link.cut("killed by a test")

    for place in range(len(link._work)):
        link._work[place] = lambda: None
    on_connection(bus, end)


def bury(bus: RabbitBus) -> None:
    """Let go of what is left of a killed one."""
    bus._link._thread.join(30)
    bus.close()


def sync(bus: RabbitBus) -> None:
    """Wait until the broker has read what was sent: an acknowledgement is not answered."""
    bus.lengths()


if __name__ == "__main__":
    {"start": _start_shared, "keep": _keep}[sys.argv[1]](Path(sys.argv[2]))
