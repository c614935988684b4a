"""The search server: a real Elasticsearch if this machine can have one, else OpenSearch, else a stand-in.

Neither of the real ones is to be had as a wheel or a package. Both are published as jars, for programs that
embed them: Maven fetches these, and a few lines of Java start a node (`ElasticNode.java`, `OpenNode.java`).
Such a node is the real server without what its distribution adds. The stand-in is a small server that
speaks OpenSearch's API and keeps everything in memory.

`python -m deploy.local.search` fetches what will be used, into `services` beside this Python's own files.
"""

from __future__ import annotations

import fcntl
import json
import logging
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from deploy.local import HOST, Missing, NotStarted, Server, apt, find_program, spawn, wait_until

log = logging.getLogger(__name__)

Kind = Literal["elasticsearch", "opensearch", "stand-in"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""In the order they are tried."""

PLACE = Path(sys.prefix) / "services" / "search"
FETCH_SECONDS = 150.0
"""For all servers together; then the stand-in is used."""

TRY_AGAIN_SECONDS = 3600.0
"""What could not be fetched is not asked for again at every start."""

STAND_IN = "osmem-server==0.1.6"
ELASTICSEARCH = "8.19.21"
OPENSEARCH = "2.19.6"
_JARS = {
    "elasticsearch": (
        f"org.elasticsearch:elasticsearch:{ELASTICSEARCH}",
        f"org.elasticsearch.plugin:transport-netty4:{ELASTICSEARCH}",
        "org.apache.logging.log4j:log4j-core:2.26.1",  # of the log4j-api that comes with it
    ),
    "opensearch": (
        f"org.opensearch:opensearch:{OPENSEARCH}",
        f"org.opensearch:opensearch-plugin-classloader:{OPENSEARCH}",
        f"org.opensearch.plugin:transport-netty4-client:{OPENSEARCH}",
        "org.apache.logging.log4j:log4j-core:2.25.4",
        "org.locationtech.jts:jts-core:1.15.0",
        "org.locationtech.spatial4j:spatial4j:0.7",
    ),
}
_MAIN = {"elasticsearch": "ElasticNode", "opensearch": "OpenNode"}
_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>headrace</groupId><artifactId>search</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>{}</dependencies></project>
"""
_DEPENDENCY = "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"
# Elasticsearch loads its network layer as a module of its own, with its own classes
_MODULE = "transport-netty4"
_DESCRIPTOR = f"""name={_MODULE}
description=HTTP and transport
version={ELASTICSEARCH}
elasticsearch.version={ELASTICSEARCH}
java.version=17
classname=org.elasticsearch.transport.netty4.Netty4Plugin
"""


@dataclass(slots=True)
class Search(Server):
    """A running server. The stand-in keeps nothing on disk."""

    kind: Kind

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def name(self) -> str:
        """For people: which server it is."""
        return {
            "elasticsearch": f"Elasticsearch {ELASTICSEARCH}",
            "opensearch": f"OpenSearch {OPENSEARCH}",
            "stand-in": f"the stand-in {STAND_IN}, no real search server",
        }[self.kind]


def start(
    folder: Path, port: int, *, kind: Kind | None = None, die_with_parent: bool = False, short: bool = False
) -> Search:
    """Start it, with what the folder holds or empty; the best that is installed, or fetched now, or `kind`.

    `short`: it will not run long, so it starts faster and works more slowly. Raises Missing, NotStarted.
    """
    kind = kind or install()
    if kind not in _installed():
        raise Missing(f"{kind} is not installed: python -m deploy.local.search {kind}")
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    process = spawn("search", _command(kind, data, port, short), folder, die_with_parent=die_with_parent)
    wait_until(lambda: _answers(port), process, 120.0)
    server = Search(process, port, kind)
    log.info("search server: %s at %s", server.name, server.url)
    return server


def _command(kind: Kind, data: Path, port: int, short: bool) -> list[str | Path]:
    home = PLACE / kind
    if kind == "stand-in":
        program = home / "osmem_server" / "bin" / "osmem-server"
        return [program, "-addr", f"{HOST}:{port}", "-no-ja", "-no-stdin-watch"]
    options = ["-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-Dlog4j2.disable.jmx=true"]
    if short:
        options += ["-XX:TieredStopAtLevel=1"]
    classes = f"{home / 'classes'}:{home / 'lib'}/*"
    return [find_program("java"), *options, "-cp", classes, _MAIN[kind], home, str(port), data]


def _answers(port: int) -> bool:
    with urllib.request.urlopen(f"http://{HOST}:{port}/_cluster/health", timeout=2.0) as answer:
        return json.load(answer)["status"] in ("green", "yellow")


# -- fetching


def install(*wanted: Kind) -> Kind:
    """Fetch the first of `wanted` (all, in their order) that can be had, unless it is there. → its name.

    Raises NotStarted with what each said.
    """
    kinds = wanted or KINDS
    problems: list[str] = []
    limit = time.monotonic() + FETCH_SECONDS
    with _alone():
        for kind in kinds:
            if kind in _installed():
                return kind
            failed = PLACE / f"{kind}.failed"
            if not wanted and failed.exists() and time.time() - failed.stat().st_mtime < TRY_AGAIN_SECONDS:
                problems.append(failed.read_text())
                continue
            try:
                _fetch(kind, max(limit - time.monotonic(), 5.0))
            except NotStarted as error:
                failed.write_text(f"{kind}: {error}\n")
                problems.append(failed.read_text())
                log.warning("%s cannot be had: %s", kind, error)
            else:
                return kind
    raise NotStarted("no search server can be had.\n" + "".join(problems))


def _installed() -> list[Kind]:
    return [kind for kind in KINDS if (PLACE / kind / "complete").exists()]


@contextmanager
def _alone() -> Iterator[None]:
    """Test processes start together; one of them fetches."""
    PLACE.mkdir(parents=True, exist_ok=True)
    with (PLACE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(kind: Kind, seconds: float) -> None:
    home, building = PLACE / kind, PLACE / f"{kind}.new"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    if kind == "stand-in":
        pip: list[str | Path] = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--target",
            building,
            STAND_IN,
        ]
        _run(pip, building, seconds)  # not into the environment: it brings a pytest plugin along
    else:
        _fetch_node(kind, building, seconds)
    (building / "complete").touch()
    shutil.rmtree(home, ignore_errors=True)
    building.rename(home)


def _fetch_node(kind: Kind, home: Path, seconds: float) -> None:
    try:
        maven, compiler = find_program("mvn"), find_program("javac")
    except Missing:
        apt.install("openjdk-17-jdk-headless", "maven")
        maven, compiler = find_program("mvn"), find_program("javac")
    dependencies = "".join(_DEPENDENCY.format(*jar.split(":")) for jar in _JARS[kind])
    (home / "pom.xml").write_text(_POM.format(dependencies))
    lib, repository = home / "lib", home / "repository"
    command: list[str | Path] = [
        maven, "--quiet", "--batch-mode", f"-Dmaven.repo.local={repository}",
        "dependency:copy-dependencies", f"-DoutputDirectory={lib}",
    ]  # fmt: skip
    _run(command, home, seconds)
    shutil.rmtree(repository)
    _run(
        [compiler, "-cp", f"{lib}/*", "-d", home / "classes", Path(__file__).with_name(f"{_MAIN[kind]}.java")], home, 60
    )
    (home / "config").mkdir()
    if kind == "elasticsearch":
        module = home / "modules" / _MODULE
        module.mkdir(parents=True)
        for jar in (*lib.glob("transport-netty4-*.jar"), *lib.glob("netty-*.jar")):
            jar.rename(module / jar.name)
        (module / "plugin-descriptor.properties").write_text(_DESCRIPTOR)


def _run(command: Sequence[str | Path], folder: Path, seconds: float) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=seconds, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise NotStarted(f"{Path(command[0]).name} took longer than {seconds:.0f} s") from error
    if done.returncode:
        raise NotStarted(f"{Path(command[0]).name} failed: {(done.stdout + done.stderr).strip()[:1000]}")


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    wanted = [kind for kind in KINDS if kind in sys.argv[1:]]
    log.info("search server: %s", install(*wanted))


if __name__ == "__main__":
    main()
