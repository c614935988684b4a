"""Webhooks on the wire: repeated calls across kills of the server, and senders that break the rules of HTTP."""

from __future__ import annotations

import random
import socket
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest
import urllib3

from tests.integration.crash.conftest import Counting, Killable

CID = "X-Headrace-Correlation-Id"
TRIGGER = "appmixer.utils.http.WebhookTrigger"


def linked(kind: str, sender: str, out: str, fields: dict[str, Any]) -> dict[str, Any]:
    mapping = {"type": "json2new", "lambda": fields, "modifiers": {}}
    return {"type": kind, "source": {"in": {sender: [out]}}, "config": {"transform": {"in": {sender: {out: mapping}}}}}


def start(server: Killable, properties: dict[str, Any], *steps: tuple[str, str, dict[str, Any]]) -> str:
    """A flow of a trigger and steps (type, out port, fields) in a row. Returns the webhook's path."""
    ids = [str(uuid.uuid4()) for _ in range(len(steps) + 1)]
    flow = {ids[0]: {"type": TRIGGER, "source": {}, "config": {"properties": properties}}}
    port = "request"
    for n, (kind, out, fields) in enumerate(steps):
        text = orjson.dumps(fields).decode().replace("@data@", f"$.{ids[0]}.request.data")
        flow[ids[n + 1]] = linked(kind, ids[n], port, orjson.loads(text))
        port = out
    flow_id = server.call("POST", "/flows", {"name": "hooks", "flow": flow})["flowId"]
    server.call("POST", f"/flows/{flow_id}/coordinator", {"command": "start"})
    return f"/flows/{flow_id}/components/{ids[0]}"


def insist(server: Killable, path: str, key: str) -> tuple[int, str, bytes]:
    """As senders do: the same call again until it is answered."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            answer = server.http.request(
                "POST", server.url + path, body=orjson.dumps({"id": key}), timeout=15,
                headers={"Content-Type": "application/json", "Idempotency-Key": key},
            )  # fmt: skip
        except urllib3.exceptions.HTTPError:
            time.sleep(0.05)
            continue
        if 200 <= answer.status < 300:
            return answer.status, answer.headers[CID], answer.data
        assert answer.status in (503, 504), answer.data
    raise AssertionError(f"{key} was not answered within 90 seconds")


def test_repeated_calls_across_kills_run_once_and_get_the_first_answer(killable: Killable, counting: Counting) -> None:
    killable.start()
    url = f"http://127.0.0.1:{counting.port}/"
    post = (
        "appmixer.utils.http.Post",
        "response",
        {"url": url, "bodyType": "raw", "body": '{"id": "{{{@data@.id}}}"}'},
    )
    answer = ("appmixer.utils.http.Response", "out", {"body": "{{{g_uuid4}}}", "statusCode": "201"})
    paths = {
        "at once": start(killable, {"immediateResponse": True}),
        "sync": start(killable, {"immediateResponse": False}, answer),
        "elsewhere": start(killable, {"immediateResponse": False}, post, answer),
        "nothing": start(killable, {"immediateResponse": False}, post),
    }
    calls = [(name, f"{name}-{n}") for n in range(60) for name in paths]
    chance = random.Random(20_261_124)
    answers: dict[str, tuple[int, str, bytes]] = {}

    def send(name: str, key: str) -> None:
        answers[key] = insist(killable, paths[name], key)

    def kills() -> None:
        for at in (len(calls) // 4, len(calls) // 2, len(calls) * 3 // 4):
            while len(answers) < at:
                time.sleep(0.005)
            killable.kill()
            time.sleep(chance.random() * 0.2)
            killable.start()

    killer = threading.Thread(target=kills, daemon=True)
    killer.start()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda call: send(*call), calls))
    killer.join(60)
    assert not killer.is_alive()
    killable.kill()
    killable.start()
    assert {name: {answers[k][0] for n, k in calls if n == name} for name in paths} == {
        "at once": {200}, "sync": {201}, "elsewhere": {201}, "nothing": {204},
    }  # fmt: skip
    assert [key for name, key in calls if insist(killable, paths[name], key) != answers[key]] == []
    for name, path in paths.items():
        executed = Counter(
            orjson.loads(record["msg"])["data"]["id"]
            for record in killable.log_records(path.split("/")[2])
            if record.get("portType") == "out" and record["componentId"] == path.split("/")[4]
        )
        assert executed == Counter(key for kind, key in calls if kind == name)


REQUESTS: list[tuple[bytes, bytes, bytes]] = [
    # (head after the request line, body, start of the answer)
    (b"Content-Length: 7", b'{"a":1}', b"HTTP/1.1 200"),
    (b"Transfer-Encoding: chunked", b'3\r\n{"a\r\n4\r\n":1}\r\n0\r\n\r\n', b"HTTP/1.1 200"),
    (b"Transfer-Encoding: chunked", b"zz\r\n{}\r\n0\r\n\r\n", b"HTTP/1.1 400"),
    (b"Transfer-Encoding: chunked", b"5\r\n{}\r\n", b"HTTP/1.1 400"),
    (b"Content-Length: -1", b"{}", b"HTTP/1.1 400"),
    (b"Content-Length: 2\r\nContent-Length: 5", b"{}", b"HTTP/1.1 400"),
    (b"Content-Length: 2\r\nTransfer-Encoding: chunked", b"0\r\n\r\n", b"HTTP/1.1 400"),
    (b"Content-Length: 50", b"{}", b"HTTP/1.1 400"),
    (b"Content-Length: 99999999999", b"{}", b"HTTP/1.1 413"),
    (b"X-A: 1\r\n folded: 2\r\nContent-Length: 2", b"{}", b"HTTP/1.1 400"),
    (b"X A: 1\r\nContent-Length: 2", b"{}", b"HTTP/1.1 400"),
    (b"X-A: a\0b\r\nContent-Length: 2", b"{}", b"HTTP/1.1 400"),
    (b"X-A: 1\r\nX-A: 2\r\nX-B: \xff\xfe\r\nContent-Length: 2", b"{}", b"HTTP/1.1 200"),
    (b"Expect: 100-continue\r\nContent-Length: 2", b"{}", b"HTTP/1.1 100"),
]


@pytest.mark.parametrize("http_version", [b"HTTP/1.1", b"HTTP/1.0"])
def test_hostile_senders_on_the_wire(killable: Killable, http_version: bytes) -> None:
    killable.start()
    path = start(killable, {"immediateResponse": True}).encode()
    for head, body, expected in REQUESTS:
        if http_version == b"HTTP/1.0" and (b"chunked" in head or b"Expect" in head):
            continue  # not of that version
        start_line = b"POST " + path + b" " + http_version
        got = exchange(killable.port, start_line + b"\r\nHost: x\r\nContent-Type: application/json\r\n" + head, body)
        assert got.startswith(expected.replace(b"HTTP/1.1", b"HTTP/1.")[:7]), (head, got[:200])
        assert expected[-3:] in got.split(b"\r\n", 1)[0], (head, got[:300])
    for target in (path + b"?" + b"a" * 100_000, path + b"\r\nX-Injected: 1", b"/flows/%0d%0aX:1/components/%00"):
        got = exchange(killable.port, b"POST " + target + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 2", b"{}")
        assert got[9:12] in (b"400", b"404", b"414"), got[:200]
        assert b"X-Injected" not in got
    assert killable.call("GET", "/health")["status"] == "ready"


def exchange(port: int, head: bytes, body: bytes) -> bytes:
    """Everything that comes back until the server closes or falls quiet; what was announced never all comes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        got = b""
        try:
            connection.sendall(head + b"\r\n\r\n" + body)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused before all was sent; the answer may be there
        try:
            while piece := connection.recv(65536):
                got += piece
        except OSError:
            pass
    return got
