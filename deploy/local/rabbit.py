"""RabbitMQ: the server of the distribution's package, one node or a cluster of three.

Each node has a folder of its own with its cookie, its configuration, its data and its log; all share one
`epmd` on a private port, so that nothing here meets a RabbitMQ that is installed otherwise.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local import (
    HOST,
    Missing,
    NotStarted,
    Process,
    apt,
    find_program,
    free_port,
    listening,
    running,
    spawn,
    wait_until,
)

PROGRAMS = Path("/usr/lib/rabbitmq/bin")
"""The package's own scripts; those of the same names on PATH change the user first."""

PACKAGE = "rabbitmq-server"
SERVER, EPMD = "rabbitmq", "epmd"
COOKIE = "headrace"
SECONDS = 90.0
"""A node alone is up in 5 s, three on two busy cores in 20 to 40."""


@dataclass(slots=True)
class Node:
    """One broker. `folder` is its home."""

    name: str
    folder: Path
    port: int
    environment: Mapping[str, str]
    die_with_parent: bool
    process: Process | None = None

    def start(self) -> None:
        """With what the folder holds; returns at once, see `wait`."""
        server = find_program(PROGRAMS / "rabbitmq-server")
        self.process = spawn(SERVER, [server], self.folder, env=self.environment, die_with_parent=self.die_with_parent)

    def wait(self) -> None:
        """Until it takes connections. Raises NotStarted."""
        assert self.process is not None
        wait_until(lambda: listening(self.port), self.process, SECONDS)

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop(30.0)

    def kill(self) -> None:
        """As a power cut would; `start` goes on from what is on the disk."""
        if self.process is not None:
            self.process.kill()

    def ctl(self, *words: str) -> str:
        """What `rabbitmqctl` answers; it takes a second or two. Raises NotStarted with its complaint."""
        command = [str(find_program(PROGRAMS / "rabbitmqctl")), "-q", *words]
        done = subprocess.run(  # noqa: S603 - our own command
            command,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        if done.returncode:
            raise NotStarted(f"rabbitmqctl {' '.join(words)} on {self.name}: {done.stdout}{done.stderr}")
        return done.stdout


@dataclass(slots=True)
class Rabbit:
    """A running broker. The URL names every node, by comma, with the virtual host "/"."""

    nodes: list[Node]
    epmd: Process

    @property
    def url(self) -> str:
        return self.url_of("/")

    def url_of(self, vhost: str) -> str:
        path = "%2F" if vhost == "/" else vhost
        return ",".join(f"amqp://guest:guest@{HOST}:{node.port}/{path}" for node in self.nodes)

    def add_vhosts(self, *names: str) -> None:
        """In one go: each call of rabbitmqctl takes longer than what it does."""
        texts = ",".join(f'<<"{name}">>' for name in names)
        self.nodes[0].ctl(
            "eval",
            f'[begin rabbit_vhost:add(V, <<"headrace">>), '
            f'rabbit_auth_backend_internal:set_permissions(<<"guest">>, V, <<".*">>, <<".*">>, <<".*">>, '
            f'<<"headrace">>) end || V <- [{texts}]].',
        )

    def restart(self) -> None:
        """All nodes in order, as an upgrade would."""
        for node in self.nodes:
            node.stop()
            node.start()
            node.wait()

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()
        self.epmd.stop()

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()
        self.epmd.kill()


def installed() -> bool:
    try:
        find_program(PROGRAMS / "rabbitmq-server")
        find_program("epmd")
    except Missing:
        return False
    return True


def install() -> None:
    """Raises Missing, NotStarted, see `apt.install`."""
    if not installed():
        apt.install(PACKAGE)


def processes(folder: Path) -> list[Process]:
    """What `start` or `start_nodes` started there, perhaps in another program, and still runs: nodes first."""
    nodes = [running(SERVER, home) for home in sorted(folder.glob("node*"))]
    return [process for process in (*nodes, running(EPMD, folder)) if process is not None]


def start(folder: Path, port: int, *, die_with_parent: bool = False) -> Rabbit:
    """Start one node, with what the folder holds or empty. Raises Missing, NotStarted."""
    return start_nodes(folder, [port], die_with_parent=die_with_parent)


def start_nodes(folder: Path, ports: Sequence[int], *, die_with_parent: bool = False) -> Rabbit:
    """A node on each port, together one cluster. Raises Missing, NotStarted."""
    names_port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(find_program("epmd")), "-port", str(names_port), "-address", HOST]
    epmd = spawn(EPMD, command, folder, die_with_parent=die_with_parent)
    nodes = [
        Node(name, home, port, _prepare(home, name, port, names_port, len(ports)), die_with_parent)
        for number, port in enumerate(ports, 1)
        for name, home in [(f"node{number}@localhost", folder / f"node{number}")]
    ]
    rabbit = Rabbit(nodes, epmd)
    try:
        wait_until(lambda: listening(names_port), epmd)
        for node in nodes:
            node.start()
        for node in nodes:
            node.wait()
    except BaseException:
        rabbit.kill()
        raise
    return rabbit


def _prepare(home: Path, name: str, port: int, names_port: int, size: int) -> dict[str, str]:
    """Write a node's files; its environment."""
    home.mkdir(parents=True, exist_ok=True)
    cookie = home / ".erlang.cookie"
    if not cookie.exists():
        cookie.write_text(COOKIE)
        cookie.chmod(0o400)
    (home / "plugins").write_text("[].")
    (home / "empty").touch()
    (home / "rabbit.conf").write_text(_configuration(port, size))
    return {
        "HOME": str(home),
        "ERL_EPMD_PORT": str(names_port),
        "ERL_EPMD_ADDRESS": HOST,
        "RABBITMQ_NODENAME": name,
        "RABBITMQ_CONFIG_FILE": str(home / "rabbit.conf"),
        "RABBITMQ_CONF_ENV_FILE": str(home / "empty"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
        "RABBITMQ_MNESIA_BASE": str(home / "data"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        # the script then becomes the server instead of waiting for it: one process to signal
        "RABBITMQ_ALLOW_INPUT": "1",
        "RABBITMQ_SERVER_START_ARGS": "-noinput",
    }


def _configuration(port: int, size: int) -> str:
    lines = [
        f"listeners.tcp.1 = {HOST}:{port}",
        "loopback_users = none",
        "vm_memory_high_watermark.absolute = 512MiB",
        "disk_free_limit.absolute = 50MB",
    ]
    if size > 1:
        lines += ["cluster_formation.peer_discovery_backend = classic_config"]
        lines += [f"cluster_formation.classic_config.nodes.{n} = node{n}@localhost" for n in range(1, size + 1)]
        lines += ["cluster_partition_handling = pause_minority"]
    return "".join(f"{line}\n" for line in lines)
