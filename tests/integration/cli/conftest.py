"""An installation of its own for each test, and the `headrace` command on it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.main import main
from engine.settings import load

STARTS_WITHIN = 60.0
Headrace = Callable[..., Result]


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Settings of the installation; other settings of the machine's own do not count."""
    for name in [name for name in os.environ if name.startswith("HEADRACE_")]:
        monkeypatch.delenv(name)
    return {"HEADRACE_DATA": str(tmp_path / "data"), "HEADRACE_PORT": str(free_port()), "HEADRACE_LOG_LEVEL": "ERROR"}


@pytest.fixture
def another_port() -> str:
    return str(free_port())


@pytest.fixture
def headrace(environment: dict[str, str]) -> Headrace:
    """Run the command in this process; `input` is what is typed."""

    def run(*arguments: str, input: str | None = None) -> Result:
        return CliRunner().invoke(main, arguments, input=input, env=environment)

    return run


@pytest.fixture
def start_server(environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `headrace up` and return when it is ready; all are ended after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*, ready: bool = True, **settings: str) -> subprocess.Popen[str]:
        command = [str(Path(sys.executable).with_name("headrace")), "up"]
        given = {**os.environ, **environment, **settings}
        pipe = subprocess.PIPE
        started.append(
            subprocess.Popen(command, env=given, text=True, stdout=pipe, stderr=pipe, start_new_session=True)
        )
        if ready:
            _wait(started[-1], f"{load(given).local_url}/health")
        return started[-1]

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def _wait(process: subprocess.Popen[str], url: str) -> None:
    deadline = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.05)
    process.kill()
    raise AssertionError(f"the server did not become ready: {process.communicate()}")


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
