"""The corpus of real flows, and a platform they are imported into over REST."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from flask.testing import FlaskClient

from tests.integration.engine.conftest import Lab, until
from tests.needs import corpus
from webapp.factory import create_app


@pytest.fixture(scope="session")
def corpus_flows() -> dict[str, Any]:
    return {row["path"].removeprefix("src/appmixer/"): row["json"] for row in corpus("flows")}


@dataclass
class Rig:
    """Imports, starts and watches a flow; the clock runs as fast as the flow needs it."""

    lab: Lab
    client: FlaskClient
    token: str

    def call(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = self.client.open(path, method=method, json=body, headers=headers)
        assert answer.status_code in (200, 201), (
            f"{method} {path}: {answer.status_code} {answer.get_data(as_text=True)}"
        )
        return answer.get_json()

    def store(self, id: str, name: str) -> None:
        """A store under an id of the vendor's own server, as the flows name it."""
        doc = {"_id": id, "userId": self.lab.caller.user_id, "name": name, "created": self.lab.clock.now()}
        self.lab.platform.documents.put("stores", doc)

    def file(self, id: str, name: str, content: bytes) -> None:
        metadata = {"userId": self.lab.caller.user_id}
        files = self.lab.platform.files
        files.save(name, content, content_type="application/octet-stream", metadata=metadata, file_id=id)

    def entries(self, store_id: str) -> dict[str, str]:
        return {e["key"]: e["value"] for e in self.call("GET", f"/store?storeId={store_id}")}

    def run(self, flow_id: str, store_id: str, key: str) -> str:
        """Start the flow and let time pass until the store has `key`; returns its value."""
        self.call("POST", f"/flows/{flow_id}/coordinator", {"command": "start"})

        def finished() -> str | None:
            # time moves only while nothing is to be done, so that no time-out of the flow comes too early
            if self.lab.platform.bus.depth() == 0:
                self.lab.pass_time(0.25 if self.lab.platform.timers.lag_ms() else self._to_next_timer())
            return self.entries(store_id).get(key)

        return str(until(finished, f"the result of {key}"))

    def _to_next_timer(self) -> float:
        due = self.lab.platform.timers.next_due()
        return 0.05 if due is None else min(max(due - self.lab.clock.now(), 0) / 1000, 1.0)

    def asserts(self, flow_id: str) -> dict[str, dict[str, Any]]:
        """By label, what every Assert step emitted."""
        flow = self.call("GET", f"/flows/{flow_id}")["flow"]
        labels = {cid: step.get("label", cid) for cid, step in flow.items()}
        count = sum(step["type"] == "appmixer.utils.test.Assert" for step in flow.values())
        emitted = self.emitted(flow_id, "appmixer.utils.test.Assert", count)
        return {labels[h["componentId"]]: orjson.loads(h["msg"]) for h in emitted}

    def emitted(self, flow_id: str, type: str, count: int) -> list[dict[str, Any]]:
        """Log records of what steps of a type emitted, once there are `count`."""

        def found() -> list[dict[str, Any]] | None:
            log = self.lab.log(flow_id)
            hits = [h for h in log if h.get("componentType") == type and h["portType"] == "out"]
            return hits if len(hits) >= count else None

        return list(until(found, f"{count} outputs of {type}"))

    def mails(self) -> int:
        return int(self.lab.platform.state.get("service:appmixer.utils", "mails") or 0)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    lab = Lab(tmp_path)
    place = tmp_path / "connectors" / "appmixer" / "utils" / "email" / "SendEmail"
    place.mkdir(parents=True)
    (place / "component.json").write_text(
        '{"name": "appmixer.utils.email.SendEmail", "inPorts": ["in"], "outPorts": ["sent"]}'
    )
    (place / "component.py").write_text(
        "from engine.sdk import *\n\nclass SendEmail(Component):\n"
        "    def receive(self, context):\n"
        "        context.service_state.inc('mails')\n        context.send({}, 'sent')\n"
    )
    lab.options |= {"http_allow": ("127.0.0.1",), "step_threads": 16}
    lab.open()
    client = create_app(lab.platform).test_client()
    yield Rig(lab, client, lab.platform.users.token(lab.caller.user_id))
    lab.close()


@pytest.fixture
def ftp_server(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """(port, root folder) of a local FTP server for user `flow`, password `secret`."""
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.servers import ThreadedFTPServer

    root = tmp_path / "ftp"
    (root / "Pictures").mkdir(parents=True)
    authorizer = DummyAuthorizer()
    authorizer.add_user("flow", "secret", str(root), perm="elradfmwMT")
    handler = type("Handler", (FTPHandler,), {"authorizer": authorizer})
    server = ThreadedFTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"handle_exit": False}, daemon=True)
    thread.start()
    yield server.address[1], root
    server.close_all()
    thread.join(10)
