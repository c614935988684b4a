"""Starts `headrace up` on a fresh data folder and talks to it as a client."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

EMAIL, PASSWORD = "bench@example.com", "bench-password"


class Server:
    """One running installation; `processes` are its supervisor and its serving process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        env = {
            **os.environ,
            "HEADRACE_PORT": str(self.port),
            "HEADRACE_DATA": str(folder / "data"),
            "HEADRACE_ADMIN_EMAIL": EMAIL,
            "HEADRACE_ADMIN_PASSWORD": PASSWORD,
            "HEADRACE_LOG_LEVEL": "WARNING",
            "HEADRACE_HTTP_ALLOW": "127.0.0.1",
        }
        command = [str(Path(sys.executable).with_name("headrace")), "up"]
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
        self.token = ""
        self._wait()

    def _wait(self) -> None:
        for _ in range(300):
            try:
                self.token = self.call("POST", "/user/auth", {"username": EMAIL, "password": PASSWORD})["token"]
                return
            except OSError:
                time.sleep(0.1)
        raise SystemExit("the server did not start within 30 seconds")

    def call(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"}
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def start_flow(self, flow: dict[str, Any], trigger: str, name: str) -> str:
        """Create and start; returns the path of its webhook."""
        flow_id = self.call("POST", "/flows", {"name": name, "flow": flow})["flowId"]
        self.call("POST", f"/flows/{flow_id}/coordinator", {"command": "start"})
        return f"/flows/{flow_id}/components/{trigger}"

    def metric(self, name: str) -> float:
        text = urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10).read().decode()
        return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))

    def processes(self) -> list[psutil.Process]:
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def cpu_seconds(self) -> float:
        return sum(t.user + t.system for t in (p.cpu_times() for p in self.processes()))

    def peak_mb(self) -> float:
        """Largest resident set of the serving process since it started."""
        return max(_peak_kb(p.pid) for p in self.processes()) / 1024

    def load(self, connections: int, seconds: float, paths: list[str]) -> dict[str, float]:
        """Call `paths` in random order for so long, or each of them once when `seconds` is 0.

        Adds `cpu_ms`, the server's CPU time per request, and `drain`, the seconds after the last answer
        until every log record was searchable.
        """
        before = self.cpu_seconds()
        command = [sys.executable, "-m", "bench.load", str(self.port), str(connections), str(seconds)]
        done = subprocess.run(command, input="\n".join(paths), capture_output=True, text=True, check=True)
        drained = self.drain()
        result: dict[str, float] = json.loads(done.stdout)
        result["cpu_ms"] = (self.cpu_seconds() - before) * 1000 / result["requests"]
        result["drain"] = drained
        return result

    def drain(self) -> float:
        """Wait until every log record is indexed: the work counts. Returns how long that took."""
        quiet = 0
        last = -1.0
        began = ended = time.monotonic()
        while quiet < 3:
            indexed = self.metric("headrace_log_records_total")
            quiet = quiet + 1 if indexed == last else 0
            ended = ended if quiet else time.monotonic()
            last = indexed
            time.sleep(0.3)
        return ended - began

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def _peak_kb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1])
    return 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def answering(delay: float = 0.005) -> Iterator[int]:
    """The port of a local server that answers after `delay` seconds."""
    port = _free_port()
    with subprocess.Popen([sys.executable, "-m", "bench.answering", str(port), str(delay)]) as process:
        try:
            for _ in range(100):
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield port
        finally:
            process.terminate()


@contextmanager
def server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="headrace-bench-", dir=os.environ.get("BENCH_DIR")))
    running = Server(folder)
    try:
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)
