"""A server in processes of its own on a machine that misbehaves: no disk, no descriptors, a locked file."""

from __future__ import annotations

import resource
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
import urllib3

from tests import needs
from tests.integration.crash.conftest import Killable

LIMIT = 30.0


def until(check: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come about within {LIMIT:g} s")


@dataclass
class Call:
    """An answer, or None when the connection broke."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None


@dataclass
class Shop(Killable):
    """A server with a flow that keeps each order in a store and answers only then."""

    store_id: str = ""
    hook_path: str = ""
    accepted: set[str] = field(default_factory=set)

    def open(self) -> None:
        self.start()
        self.store_id = self.call("POST", "/stores", {"name": "orders"})["storeId"]
        flow, hook = order_flow(self.store_id)
        flow_id = self.call("POST", "/flows", {"name": "orders", "flow": flow})["flowId"]
        self.call("POST", f"/flows/{flow_id}/coordinator", {"command": "start"})
        self.hook_path = f"/flows/{flow_id}/components/{hook}"

    @property
    def worker(self) -> psutil.Process:
        """The serving process, gunicorn's child."""
        assert self.process is not None
        return max(psutil.Process(self.process.pid).children(), key=lambda child: child.create_time())

    def order(self, id: str, pool: urllib3.PoolManager | None = None, query: str = "") -> Call:
        """Send one; remembered as accepted when the answer says so."""
        try:
            answer = (pool or self.http).request(
                "POST", self.url + self.hook_path + query, body=orjson.dumps({"id": id}),
                headers={"Content-Type": "application/json"}, timeout=30,
            )  # fmt: skip
        except urllib3.exceptions.HTTPError:
            return Call(0)
        if 200 <= answer.status < 300:
            self.accepted.add(id)
        text = answer.data
        body = orjson.loads(text) if text[:1] in (b"{", b"[") else text.decode()
        return Call(answer.status, {k.lower(): v for k, v in answer.headers.items()}, body)

    def health(self) -> tuple[int, list[str]]:
        answer = self.http.request("GET", f"{self.url}/health", timeout=30)
        return answer.status, orjson.loads(answer.data).get("reasons", [])

    def well(self) -> bool:
        try:
            return self.health()[0] == 200
        except urllib3.exceptions.HTTPError:
            return False

    def stored(self) -> set[str]:
        found: list[str] = []
        while True:
            page = self.call("GET", f"/store?storeId={self.store_id}&limit=1000&offset={len(found)}&sort=key:1")
            found += [entry["key"] for entry in page]
            if len(page) < 1000:
                return set(found)

    def refused(self, call: Call) -> None:
        assert call.status == 503, call
        assert int(call.headers["retry-after"]) > 0
        assert call.body["statusCode"] == 503

    @property
    def output(self) -> str:
        return (self.folder / "server.log").read_text()

    def start_fails(self) -> str:
        """Start a server that must not come up. What it printed."""
        with pytest.raises(AssertionError):
            self.start()
        assert self.process is not None
        assert self.process.wait(10) != 0
        return self.output


def order_flow(store_id: str) -> tuple[dict[str, Any], str]:
    hook, keep, answer = (str(uuid.uuid4()) for _ in range(3))
    ref = str(uuid.uuid4())
    id_of = {ref: {"variable": f"$.{hook}.request.data.id", "functions": []}}

    def linked(type: str, sender: str, out: str, lambda_: dict[str, Any], modifiers: dict[str, Any]) -> dict[str, Any]:
        mapping = {"type": "json2new", "lambda": lambda_, "modifiers": modifiers}
        return {
            "type": type,
            "source": {"in": {sender: [out]}},
            "config": {"transform": {"in": {sender: {out: mapping}}}},
        }

    flow = {
        hook: {"type": "appmixer.utils.http.WebhookTrigger", "source": {}, "config": {"properties": {}}},
        keep: linked(
            "appmixer.utils.storage.Set", hook, "request",
            {"storeId": store_id, "key": f"{{{{{{{ref}}}}}}}", "value": "x"}, {"key": id_of},
        ),
        answer: linked(
            "appmixer.utils.http.Response", keep, "out",
            {"body": f"{{{{{{{ref}}}}}}}", "statusCode": 200}, {"body": id_of},
        ),
    }  # fmt: skip
    return flow, hook


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    server = Shop(tmp_path)
    yield server
    if server.process is not None and server.process.poll() is None:
        server.kill()


def limit(pid: int, kind: int, soft: int) -> int:
    """Set a process's own limit of `kind`; the former one."""
    former, hard = resource.prlimit(pid, kind)
    resource.prlimit(pid, kind, (soft, hard))
    return former


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB of its own, where the tests may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        needs.missing(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)
