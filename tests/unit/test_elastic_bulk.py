"""What becomes of each record of a bulk request, whatever the search server says about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from engine.adapters.elastic import bulk
from engine.adapters.elastic.connection import BUSY, Backoff, Connection
from engine.errors import Unavailable
from engine.ports import Doc

Answer = Callable[[int, Doc], tuple[int, str]]


class Server(Connection):
    """Answers each record of each request (numbered from 0) as it is told."""

    def __init__(self, answer: Answer) -> None:
        super().__init__("http://127.0.0.1:1")
        self.answer = answer
        self.requests: list[list[Doc]] = []

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        lines = [orjson.loads(line) for line in body.splitlines()]
        sent = lines[1::2]
        self.requests.append(sent)
        items = []
        for doc in sent:
            status, reason = self.answer(len(self.requests) - 1, doc)
            error = {"error": {"type": "told", "reason": reason}} if status >= 300 else {}
            items.append({"create": {"status": status, **error}})
        return {"errors": any("error" in item["create"] for item in items), "items": items}

    def sent(self) -> list[list[str]]:
        return [[doc["id"] for doc in request] for request in self.requests]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Those that would have been made."""
    made: list[float] = []
    monkeypatch.setattr("engine.adapters.elastic.connection.time.sleep", made.append)
    return made


def record(number: int, **changes: Any) -> Doc:
    return {"id": str(number), "created": number, "flowId": "f1", "msg": "text", **changes}


def test_only_what_was_not_taken_is_sent_again(pauses: list[float]) -> None:
    def answer(request: int, doc: Doc) -> tuple[int, str]:
        if doc["id"] == "1" and request < 2:
            return 429, "too busy"
        if doc["id"] == "2" and request < 1:
            return 503, "no shard"
        return (409, "there already") if doc["id"] == "3" else (201, "")

    server = Server(answer)
    bulk.store(server, "flow-1", [record(n) for n in range(5)])
    assert server.sent() == [["0", "1", "2", "3", "4"], ["1", "2"], ["1"]]
    assert pauses == [0.1, 0.2]


def test_a_server_that_stays_too_busy_is_given_up(pauses: list[float]) -> None:
    server = Server(lambda request, doc: (429, "too busy") if doc["id"] == "1" else (201, ""))
    with pytest.raises(Unavailable, match="1 records are not taken: told: too busy"):
        bulk.store(server, "flow-1", [record(n) for n in range(3)])
    assert 10 < sum(pauses) < 30
    assert all(sent == ["1"] for sent in server.sent()[1:])


def test_a_request_refused_as_a_whole_is_sent_again(pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(lambda request, doc: (201, ""))
    real = server.call
    failures = iter([Unavailable("busy", code=BUSY)])

    def call(*args: Any, **options: Any) -> Any:
        for failure in failures:
            raise failure
        return real(*args, **options)

    monkeypatch.setattr(server, "call", call)
    bulk.store(server, "flow-1", [record(1)])
    assert (server.sent(), pauses) == ([["1"]], [0.1])


def test_a_refused_record_loses_its_contents_and_nothing_else(pauses: list[float]) -> None:
    server = Server(lambda request, doc: (400, "cannot be parsed") if "text" in doc["msg"] else (201, ""))
    bulk.store(server, "flow-1", [record(1, note=1, err="trace", port="in"), record(2, msg="fine")])
    assert server.sent() == [["1", "2"], ["1"], ["1"]]
    ((kept,),) = server.requests[2:]
    kept.pop("search")
    note = "(the contents of this record could not be stored: told: cannot be parsed)"
    assert kept == {"id": "1", "created": 1, "flowId": "f1", "port": "in", "msg": note, "err": note}
    assert pauses == []


def test_a_record_nobody_can_store_does_not_hold_up_the_others(pauses: list[float]) -> None:
    server = Server(lambda request, doc: (400, "never") if doc["id"] == "1" else (201, ""))
    bulk.store(server, "flow-1", [record(1), record(2)])
    assert server.sent() == [["1", "2"], ["1"], ["1"]]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_no_other_record_would_change_is_told(pauses: list[float], status: int) -> None:
    with pytest.raises(Unavailable, match="disk is full"):
        bulk.store(Server(lambda request, doc: (status, "disk is full")), "flow-1", [record(1)])


def test_requests_have_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "BYTES", 2_000)
    server = Server(lambda request, doc: (201, ""))
    bulk.store(server, "flow-1", [record(n, msg="x" * 400) for n in range(5)] + [record(9, msg="x" * 9_000)])
    assert [id_ for request in server.sent() for id_ in request] == ["0", "1", "2", "3", "4", "9"]
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"msg": {"an": "object"}}, '{"an":"object"}'),
        ({"msg": "half \ud800 pair"}, "half ? pair"),
        ({"msg": 7}, "7"),
        ({"note": 2**70}, "text"),
        ({"note": {1: 2}}, "text"),
    ],
)
def test_what_is_no_json_is_stored_as_text(changes: Doc, text: str) -> None:
    server = Server(lambda request, doc: (201, ""))
    bulk.store(server, "flow-1", [record(1, **changes)])
    assert [doc["msg"] for doc in server.requests[0]] == [text]


def test_pauses_double_and_end(pauses: list[float]) -> None:
    backoff = Backoff(first=1.0, longest=4.0, limit=12.0)
    while not backoff.over:
        backoff.wait()
    assert pauses == [1.0, 2.0, 4.0, 4.0, 4.0]
