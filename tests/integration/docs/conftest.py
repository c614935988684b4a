"""The example connector of docs/connectors.md on a real engine, and a small shop for it to call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest

import connectors
from engine import wiring
from engine.model.log import LogQuery
from engine.ports import Query, Where
from engine.rules.acl import Caller
from engine.services.outcome import Reply
from engine.services.state_view import component_owner
from engine.services.webhooks import WebhookRequest
from engine.settings import Settings
from tests.connectors import recorder
from workers.loop import Workers

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
CONNECTOR = EXAMPLES / "connector"
KEY = "key-of-ann"
LIMIT = 30.0


@dataclass
class Shop:
    """`orders` is what the shop has; `refusals` are statuses it answers the next calls with."""

    orders: list[dict[str, Any]] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    url: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, method: str, path: str, key: str, body: Any) -> tuple[int, Any]:
        address = urlsplit(path)
        with self._lock:
            self.calls.append(f"{method} {address.path}")
            if key != f"Bearer {KEY}":
                return 401, {"error": "unknown key"}
            if self.refusals:
                return self.refusals.pop(0), {"error": "not now"}
            if address.path == "/me":
                return 200, {"email": "ann@example.com"}
            if address.path == "/products":
                return 200, [{"id": "p1", "name": "Pump"}, {"id": "p2", "name": "Pipe"}]
            if method == "POST":
                return 200, self.place(body)
            after = parse_qs(address.query).get("after")
            return 200, [o for o in self.orders if after is None or int(o["id"]) > int(after[0])]

    def place(self, wanted: dict[str, Any]) -> dict[str, Any]:
        known = next((o for o in self.orders if o["reference"] == wanted["reference"]), None)
        if known is None:
            known = {**wanted, "id": str(len(self.orders) + 1)}
            self.orders.append(known)
        return known


@pytest.fixture
def shop() -> Iterator[Shop]:
    made = Shop()

    class Handler(BaseHTTPRequestHandler):
        def handle_one(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = orjson.loads(self.rfile.read(size)) if size else None
            status, content = made.answer(self.command, self.path, self.headers.get("Authorization", ""), body)
            data = orjson.dumps(content)
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = handle_one  # noqa: N815 - the names the base class calls

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Engine:
    platform: wiring.Platform
    caller: Caller

    def run(self, flow: dict[str, Any], account: str = "") -> str:
        """Save a flow, give each of its shop's steps the account, start it."""
        flow_id: str = self.platform.flows.create({"name": "example", "flow": flow}, self.caller)["_id"]
        for cid, step in flow.items():
            found = self.platform.catalogue.get(step["type"])
            if found is not None and found.manifest.auth_service:
                self.platform.accounts.bind(self.caller.user_id, cid, account)
        self.platform.lifecycle.start(flow_id)
        return flow_id

    def connect(self, shop: Shop, key: str = KEY) -> dict[str, Any]:
        given = {"service": "acme:shop", "token": {"url": shop.url, "apiKey": key}}
        return self.platform.accounts.create(self.caller.user_id, given)

    def post(self, flow_id: str, component_id: str, data: Any) -> Reply:
        request = WebhookRequest("POST", "example", {}, {}, data)
        return self.platform.webhooks.accept(flow_id, component_id, request).reply

    def outputs(self, flow_id: str, component_id: str, count: int) -> list[Any]:
        """What a step emitted, once there is that much of it."""
        query = LogQuery(flow_ids=(flow_id,), port_types=("out",), sort=(("gridTimestamp", 1),), size=1000)

        def found() -> list[Any]:
            hits = self.platform.log_index.search(query).hits
            return [orjson.loads(h["msg"]) for h in hits if h["componentId"] == component_id]

        return until(found, lambda hits: len(hits) >= count)

    def state(self, flow_id: str, component_id: str, key: str) -> Any:
        """What a step keeps, once there is something."""
        owner = component_owner(flow_id, component_id)
        return until(lambda: [self.platform.state.get(owner, key)], lambda found: bool(found[0]))[0]

    def unprocessed(self, flow_id: str) -> Any:
        where = Query(where=(Where("flowId", "eq", flow_id),))
        return until(lambda: self.platform.documents.find("unprocessed", where), bool)[0]


def until(read: Callable[[], list[Any]], enough: Callable[[list[Any]], bool]) -> list[Any]:
    deadline = time.monotonic() + LIMIT
    while not enough(found := read()):
        assert time.monotonic() < deadline, f"after {LIMIT:g} s there is only {found}"
        time.sleep(0.02)
    return found


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    settings = Settings(
        data=tmp_path,
        connectors=CONNECTOR,
        http_allow=("127.0.0.1",),
        polling_interval=0.2,
        retry_first=0.05,
        step_threads=8,
    )
    platform = wiring.build(settings)
    workers = Workers(platform)
    workers.start()
    user = platform.users.create_first_admin({"email": "ann@example.com", "password": "correct horse"})
    yield Engine(platform, Caller(user["_id"], user["username"], user["email"], frozenset(user["scope"])))
    workers.stop(10)
    platform.close()


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Callable[..., recorder.Recorder]:
    """Makes recorders of components that lie in the example's folder instead of in connectors/."""
    monkeypatch.setattr(recorder, "ROOT", CONNECTOR)
    monkeypatch.setattr(connectors, "__path__", [*connectors.__path__, str(CONNECTOR)])
    return recorder.Recorder
