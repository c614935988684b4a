"""The request steps through the real outbound client: bodies are streamed with their exact length."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
import pytest

from engine.adapters.http import OutboundHttp
from engine.sdk import StepError
from tests.connectors.recorder import Recorder
from tests.connectors.world import World


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was sent; `/status/404` with that status."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): text for name, text in self.headers.items()}
        seen = {
            "method": self.command,
            "path": self.path,
            "headers": headers,
            "size": len(body),
            "end": body[-4:].hex(),
        }
        reply = orjson.dumps(seen | {"message": "as you wished"})
        self.send_response(int(self.path.rpartition("/")[2]) if "/status/" in self.path else 200)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
    setattr(Echo, f"do_{method}", Echo.answer)


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def call(type: str, **fields: Any) -> Any:
    world = World()
    world.files.put("f1", "big.bin", b"0123456789" * 300_000)
    recorder = Recorder(f"appmixer.utils.http.{type}", world=world)
    recorder.http = OutboundHttp(("127.0.0.1",), 1_000_000)
    return recorder.receive({"in": fields}).sent[0][1]["body"]


def test_a_file_is_streamed(site: str) -> None:
    seen = call("Put", url=f"http://{site}/up", bodyType="binary", fileId="f1")
    assert (seen["method"], seen["size"], seen["headers"]["content-length"]) == ("PUT", 3_000_000, "3000000")
    assert "transfer-encoding" not in seen["headers"]


def test_a_form_is_streamed(site: str) -> None:
    rows = [{"name": "a", "type": "text", "text": "b"}, {"name": "f", "type": "filepicker", "filepicker": "f1"}]
    seen = call("Post", url=f"http://{site}/up", bodyType="form-data", bodyFormData={"ADD": rows})
    assert seen["headers"]["content-length"] == str(seen["size"])
    assert seen["size"] > 3_000_000
    assert seen["end"] == b"--\r\n".hex()
    assert "transfer-encoding" not in seen["headers"]


def test_query_and_login(site: str) -> None:
    seen = call("Get", url=f"http://ann:secret@{site}/a?x=1", body={"q": "ř", "n": [1]})
    assert seen["path"] == "/a?x=1&q=%C5%99&n%5B0%5D=1"
    assert seen["headers"]["authorization"] == "Basic YW5uOnNlY3JldA=="


def test_a_body_with_delete(site: str) -> None:
    seen = call("Delete", url=f"http://{site}/a", body={"id": 1})
    assert (seen["method"], seen["size"], seen["headers"]["content-type"]) == ("DELETE", 8, "application/json")


def test_a_refusal_carries_the_message(site: str) -> None:
    with pytest.raises(StepError, match="as you wished") as caught:
        call("Patch", url=f"http://{site}/status/409")
    assert caught.value.code == "409"
