"""A server in processes of its own that tests may kill, and a counting HTTP server it calls."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest
import urllib3

from engine.model.execution import STATUSES

JUST_NOW = 0.3
"""Seconds within which the answer of a call reaches the ledger, with the machine at its limit."""

EMAIL, PASSWORD = "admin@example.com", "correct horse battery"
START_SECONDS = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Killable:
    """`headrace up` on a data folder: start, kill -9 of everything at once, start again."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    token: str = ""

    def start(self) -> None:
        env = {
            **os.environ,
            "HEADRACE_PORT": str(self.port),
            "HEADRACE_DATA": str(self.folder / "data"),
            "HEADRACE_ADMIN_EMAIL": EMAIL,
            "HEADRACE_ADMIN_PASSWORD": PASSWORD,
            "HEADRACE_HTTP_ALLOW": "127.0.0.1",
            "HEADRACE_LOG_LEVEL": "WARNING",
            **self.settings,
        }
        command = [str(Path(sys.executable).with_name("headrace")), "up"]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "server.log").read_text()[-3000:]
            try:
                if self.http.request("GET", f"{self.url}/health", timeout=1).status == 200:
                    break
            except urllib3.exceptions.HTTPError:
                time.sleep(0.05)
        else:
            raise AssertionError((self.folder / "server.log").read_text()[-3000:])
        if not self.token:
            self.token = self.call("POST", "/user/auth", {"username": EMAIL, "password": PASSWORD})["token"]

    def kill(self) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def http(self) -> urllib3.PoolManager:
        return _pool

    def call(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        data = orjson.dumps(body) if body is not None else None
        answer = self.http.request(method, self.url + path, body=data, headers=headers, timeout=30)
        assert 200 <= answer.status < 300, f"{method} {path}: {answer.status} {answer.data[:500]!r}"
        return orjson.loads(answer.data) if answer.data else None

    def log_records(self, flow_id: str) -> list[dict[str, Any]]:
        """Every record of a flow's run log, by pages."""
        found: list[dict[str, Any]] = []
        after = ""
        fields = "includes=correlationId,componentId,portType,port,severity,msg"
        while True:
            page = self.call(
                "GET", f"/logs?flowId={flow_id}&size=1000&buckets=false&sort=gridTimestamp&sort=_id&{fields}{after}"
            )["hits"]
            found += page
            if len(page) < 1000:
                return found
            last = page[-1]["sort"]
            after = "".join(f"&searchAfter={value}" for value in last)

    def executions(self, flow_id: str) -> dict[str, int]:
        """How many executions of a flow ended in which way, once none is open."""
        deadline = time.monotonic() + START_SECONDS
        counts: dict[str, int] = {}
        while time.monotonic() < deadline:
            path = f"/executions/count?flowId={flow_id}&status="
            counts = {status: self.call("GET", path + status)["count"] for status in STATUSES}
            if not counts["running"] and not counts["waiting"]:
                return {status: count for status, count in counts.items() if count}
            time.sleep(0.2)
        raise AssertionError(f"executions are still open: {counts}")


_pool = urllib3.PoolManager(maxsize=128, retries=False, block=False)


@dataclass
class Counting:
    """Counts POSTs by the `id` in their body, and knows which are being answered or were a moment ago."""

    port: int
    counts: Counter[str]
    moments: deque[float] = field(default_factory=lambda: deque(maxlen=10_000))
    open: int = 0

    def in_flight(self, just_now: float) -> int:
        """Calls under way, and calls answered within the last `just_now` seconds."""
        since = time.monotonic() - just_now
        return self.open + sum(1 for moment in list(self.moments) if moment > since)


@pytest.fixture
def counting() -> Iterator[Counting]:
    counts: Counter[str] = Counter()
    counted = Counting(0, counts)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            counted.open += 1
            try:
                self._answer()
            finally:
                counted.open -= 1
                counted.moments.append(time.monotonic())

        def _answer(self) -> None:
            body = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
            counts[str(body["id"])] += 1
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A killed caller breaks its connections; that is what these tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    counted.port = server.server_address[1]
    yield counted
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture
def killable(tmp_path: Path) -> Iterator[Killable]:
    server = Killable(tmp_path)
    yield server
    if server.process is not None and server.process.poll() is None:
        server.kill()


@dataclass
class Load:
    """Open load: deliveries leave at their time whether or not earlier ones were answered."""

    path: str
    server: Killable
    counting: Counting | None = None
    in_flight: int = 0
    accepted: list[str] = field(default_factory=list)
    refused: int = 0

    def run(self, count: int, per_second: float, kills: list[int], down: random.Random) -> None:
        """Send `count` deliveries; kill the server when as many have left as `kills` says, and start it again."""
        killer = threading.Thread(target=self._kill_at, args=(kills, down), daemon=True)
        self.sent = 0
        began = time.monotonic()
        killer.start()
        with ThreadPoolExecutor(64) as pool:
            for n in range(count):
                pause = began + n / per_second - time.monotonic()
                if pause > 0:
                    time.sleep(pause)
                self.sent = n
                pool.submit(self._send, f"d{n}")
        self.sent = count + 1
        killer.join(120)
        assert not killer.is_alive()

    def _kill_at(self, kills: list[int], down: random.Random) -> None:
        for at in sorted(kills):
            while self.sent < at:
                time.sleep(0.001)
            if self.counting is not None:
                self.in_flight += self.counting.in_flight(JUST_NOW)
            self.server.kill()
            time.sleep(down.random() * 0.3)
            self.server.start()

    def _send(self, id: str) -> None:
        query = "?enqueueOnly=true" if self.counting is not None and id[-1] in "13579" else ""
        try:
            answer = _pool.request(
                "POST", self.server.url + self.path + query, body=orjson.dumps({"id": id}),
                headers={"Content-Type": "application/json"}, timeout=15,
            )  # fmt: skip
        except urllib3.exceptions.HTTPError:
            self.refused += 1
            return
        if 200 <= answer.status < 300:
            self.accepted.append(id)
        else:
            self.refused += 1
