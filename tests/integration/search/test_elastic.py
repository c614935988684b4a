"""The run log on a real search server: what it does when that is down, and with contents of any shape."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local import free_port
from engine.adapters.elastic.connection import Connection
from engine.adapters.elastic.logindex import ElasticLogIndex
from engine.errors import BadRequest, Unavailable
from engine.model.execution import ExecutionQuery
from engine.model.log import LogQuery
from engine.model.message import first_id
from engine.model.times import from_iso
from engine.ports import Doc
from tests import search_server

MARCH = from_iso("2026-03-15T12:00:00Z")


def record(number: int, **changes: Any) -> Doc:
    return {
        "id": f"0190-{number:08d}", "created": MARCH + number, "severity": "info", "type": "data", "flowId": "f1",
        "componentId": "c1", "correlationId": first_id(MARCH, number // 5), "portType": "in", "port": "in",
        "msg": '{"order":"gift"}', **changes,
    }  # fmt: skip


def delivery(number: int) -> Doc:
    return {
        "id": f"d{number}", "created": MARCH + number, "type": "delivery", "flowId": "f1",
        "correlationId": first_id(MARCH, number), "run": 1, "revision": 1, "trigger": "t", "delta": 0, "steps": 1,
    }  # fmt: skip


@pytest.fixture
def index() -> Iterator[ElasticLogIndex]:
    search_server.empty("faults")
    index = search_server.log_index("faults")
    yield index
    index.close()


def ids(index: ElasticLogIndex, query: str) -> list[str]:
    return [hit["_id"] for hit in index.search(LogQuery(query, sort=(("created", 1),), buckets=False)).hits]


def test_nothing_is_lost_while_the_server_is_down(tmp_path: Path) -> None:
    port = free_port()
    server = search_server.start(tmp_path, port)
    if server.kind == "stand-in":
        server.kill()
        pytest.skip("the stand-in keeps nothing")
    search_server.empty("down")
    index = search_server.on(server, search_server.executions("down"), "down")
    batches = [[*(record(5 * n + k) for k in range(5)), delivery(n)] for n in range(6)]
    waiting = list(batches)
    refused = 0
    while waiting:
        try:
            index.append(waiting[0])
        except Unavailable:
            refused += 1
            if refused == 2:
                server = search_server.start(tmp_path, port)
            continue
        waiting.pop(0)
        if len(waiting) == 3:
            server.kill()
            with pytest.raises(Unavailable, match="search server"):
                index.search(LogQuery())
    assert refused >= 2
    index.append(batches[1])  # once more
    assert index.search(LogQuery()).total == 30
    rows = index.executions(ExecutionQuery())
    assert [(row.status, row.steps) for row in rows] == [("succeeded", 1)] * 6
    index.close()
    server.kill()


SHAPES: list[Any] = [
    {"a": 1},
    {"a": {"b": 2}},
    {"a": [{"c": "x"}, 3]},
    {"a": "2026-03-15"},
    {"a": None, "": "empty name", "a.b": "dotted", "$x": {"_id": 1}},
    [{"a": True}],
    "text",
    7,
    {f"key{n}": f"v{n}" for n in range(3000)},
]


def test_payloads_of_any_shape_are_stored_and_make_no_fields(index: ElasticLogIndex) -> None:
    sent = [record(n, note=shape, msg=f'{{"payload":{n + 100}}}') for n, shape in enumerate(SHAPES)]
    for one in sent:  # each in a request of its own, so that a later one meets the fields of an earlier one
        index.append([one])
    hits = index.search(LogQuery(sort=(("created", 1),))).hits
    assert [hit["note"] for hit in hits] == SHAPES
    assert ids(index, "note.a:1") == [sent[0]["id"]]
    assert ids(index, "note.a.b:2") == [sent[1]["id"]]
    assert ids(index, "note.a:2") == [sent[1]["id"]]
    assert ids(index, "note:7") == [sent[7]["id"]]
    assert [ids(index, str(n + 100)) for n in range(len(sent))] == [[one["id"]] for one in sent]
    server = search_server.shared()
    connection = Connection(server.url, opensearch=search_server.opensearch(server))
    (told,) = connection.call("GET", "/faults-202603/_mapping").values()
    connection.close()
    assert told["mappings"]["dynamic"] == "false"
    assert "properties" not in told["mappings"]["properties"]["more"]
    assert len(told["mappings"]["properties"]) == 18


def test_a_refused_record_is_stored_as_text(index: ElasticLogIndex) -> None:
    index.append([record(1), record(2, port={"an": "object"}), record(3, flowId=["f1"]), record(4)])
    assert ids(index, "") == [record(n)["id"] for n in (1, 2, 3, 4)]
    hit = index.get(record(2)["id"])
    assert hit is not None
    assert hit["port"] == '{"an":"object"}'


def test_ids_longer_than_the_server_takes(index: ElasticLogIndex) -> None:
    long = "x" * 600
    index.append([record(1, id=long), record(1, id=long), record(2, id=long + "y")])
    assert index.search(LogQuery()).total == 2
    found = index.get(long)
    assert found is not None
    assert found["_id"] == long
    assert ids(index, f'_id:"{long}y"') == [long + "y"]


def test_words_longer_than_the_server_takes(index: ElasticLogIndex) -> None:
    long = random.Random(1).randbytes(400).hex()
    index.append([record(1, msg=f'{{"blob":"{long}","n":1}}'), record(2, msg=f'{{"blob":"{long[:300]}","n":2}}')])
    assert ids(index, long) == [record(1)["id"]]
    assert ids(index, f"{long[:200]}*") == [record(n)["id"] for n in (1, 2)]


def test_sorting_here_has_its_limit(index: ElasticLogIndex) -> None:
    index.append([record(n, msg=f"{n % 7}") for n in range(10_050)])
    with pytest.raises(BadRequest, match="more than 10000 records match"):
        index.search(LogQuery(sort=(("msg", 1),)))
    page = index.search(LogQuery("msg:3", sort=(("msg", 1),), size=2))
    assert len(page.hits) == 2
    assert page.total == len(range(3, 10_050, 7))
    assert index.search(LogQuery(sort=(("port", 1),), size=1, buckets=False)).total == 10_000


def test_a_text_that_very_many_records_have_finds_executions(index: ElasticLogIndex) -> None:
    index.append([record(n, msg="gift", correlationId=first_id(MARCH, n % 30)) for n in range(10_500)])
    index.append([delivery(n) for n in range(40)])
    found = index.executions(ExecutionQuery(text="gift", limit=20, offset=5))
    assert [row.started - MARCH for row in found] == list(range(24, 4, -1))
    assert index.count_executions(ExecutionQuery(text="gift")) == 30
    assert index.count_executions(ExecutionQuery(text="gift", flow_ids=("f2",))) == 0


def test_the_setting_for_opensearch_does_no_harm_elsewhere() -> None:
    search_server.empty("plain")
    executions = search_server.executions("plain")
    index = ElasticLogIndex(search_server.shared().url, executions, prefix="plain", opensearch=True)
    index.append([record(1)])
    assert ids(index, "gift") == [record(1)["id"]]
    with pytest.raises(BadRequest):
        index.search(LogQuery("port:[a TO"))
    index.close()
