"""The run log over REST (rest-api.md §7). What the query language finds is the log index's own contract."""

from __future__ import annotations

from typing import Any

import pytest

from engine import wiring
from engine.model.message import new_id
from tests.integration.api.conftest import User

NOW = 1_790_000_000_000


def flow_of(user: User, **fields: Any) -> str:
    return str(user.post("/flows", {"name": "f", **fields}).json["flowId"])


def write(platform: wiring.Platform, flow_id: str, n: int = 1, start: int = NOW, **fields: Any) -> list[str]:
    ids = [new_id(start + i) for i in range(n)]
    records = [
        {
            "id": record_id, "created": start + i, "severity": "info", "type": "data", "componentType": "a.b.c.D",
            "componentId": "c1", "portType": "out", "port": "out", "correlationId": "x1", "flowId": flow_id,
            "msg": f'{{"n":{i}}}', **fields,
        }
        for i, record_id in enumerate(ids)
    ]  # fmt: skip
    platform.log_index.append(records)
    return ids


def found(user: User, query: str = "") -> list[str]:
    answer = user.get(f"/logs?{query}")
    assert answer.status_code == 200, answer.json
    return [hit["_id"] for hit in answer.json["hits"]]


def test_a_page_of_the_log(ann: User, platform: wiring.Platform) -> None:
    flow_id = flow_of(ann)
    ids = write(platform, flow_id, 3)
    page = ann.get(f"/logs?flowId={flow_id}&sort=gridTimestamp").json
    assert set(page) == {"buckets", "hits"}
    assert [hit["_id"] for hit in page["hits"]] == ids
    assert page["hits"][0]["msg"] == '{"n":0}'
    assert sum(bucket["doc_count"] for bucket in page["buckets"]) == 3


def test_own_and_shared_flows_only(ann: User, bob: User, stranger: User, platform: wiring.Platform) -> None:
    shared = flow_of(ann, sharedWith=[{"email": bob.name, "permissions": ["read"]}])
    secret = flow_of(ann)
    unreadable = flow_of(ann, sharedWith=[{"email": bob.name, "permissions": ["start"]}])
    one, *_ = write(platform, shared)
    two, *_ = write(platform, secret)
    three, *_ = write(platform, unreadable)
    write(platform, "gone")
    assert set(found(ann)) == {one, two, three}
    assert found(bob) == [one]
    assert found(stranger) == []
    assert found(bob, f"flowId={shared}") == [one]
    assert found(ann, f"flowId={shared}&flowId={secret}&sort=gridTimestamp") == sorted([one, two])
    assert bob.get(f"/logs?flowId={shared}&flowId={secret}").status_code == 404
    assert bob.get(f"/logs?flowId={unreadable}").status_code == 403
    assert found(stranger, f"query=flowId:{secret}") == []
    assert bob.get(f"/log/flow-202609/{one}").json["_id"] == one
    assert bob.get(f"/log/{shared}/flow-202609/{one}").json["_source"]["flowId"] == shared
    for user in (bob, stranger):
        assert user.get(f"/log/flow-202609/{two}").status_code == 404


def test_the_histogram_can_be_left_out(ann: User, platform: wiring.Platform) -> None:
    write(platform, flow_of(ann), n=3)
    page = ann.get("/logs?buckets=false").json
    assert page["buckets"] == []
    assert len(page["hits"]) == 3


def test_an_administrator_sees_a_flow_that_is_named(ann: User, admin: User, platform: wiring.Platform) -> None:
    flow_id = flow_of(ann)
    (one,) = write(platform, flow_id)
    assert found(admin) == []
    assert found(admin, f"flowId={flow_id}") == [one]


def test_nobody_sees_nothing(nobody: User) -> None:
    assert nobody.get("/logs").status_code == 401
    assert nobody.get("/log/flow-202609/x").status_code == 401


def test_one_record_as_older_clients_read_it(ann: User, platform: wiring.Platform) -> None:
    (record_id,) = write(platform, flow_of(ann))
    record = ann.get(f"/log/flow-202609/{record_id}").json
    assert set(record) == {"_index", "_type", "_id", "_version", "_source"}
    assert record["_source"]["msg"] == '{"n":0}'
    assert not {"_id", "_index", "sort"} & set(record["_source"])
    assert ann.get("/log/flow-202609/none").status_code == 404


def test_pages_by_search_after_show_everything_once(ann: User, platform: wiring.Platform) -> None:
    flow_id = flow_of(ann)
    ids = write(platform, flow_id, 25)
    seen: list[str] = []
    after = ""
    while True:
        hits = ann.get(f"/logs?flowId={flow_id}&sort=gridTimestamp:desc&size=7{after}").json["hits"]
        seen += [hit["_id"] for hit in hits]
        if len(hits) < 7:
            break
        after = "".join(f"&searchAfter={value}" for value in hits[-1]["sort"])
    assert seen == ids[::-1]


def test_filters_and_fields(ann: User, platform: wiring.Platform) -> None:
    flow_id = flow_of(ann)
    (entered,) = write(platform, flow_id, portType="in")
    (left,) = write(platform, flow_id, portType="out", severity="error", start=NOW + 1000)
    assert found(ann, "portType=in") == [entered]
    assert set(found(ann, "portType=in&portType=out")) == {entered, left}
    assert found(ann, "query=severity:error") == [left]
    assert found(ann) == [left, entered]
    assert found(ann, "size=1&from=1&sort=gridTimestamp:asc") == [left]
    (hit,) = ann.get("/logs?query=severity:error&includes=msg,port").json["hits"]
    assert {"msg", "port"} <= set(hit)
    assert "severity" not in hit
    for name in ("excludes", "exclude"):
        assert "msg" not in ann.get(f"/logs?{name}=msg,port").json["hits"][0]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("size=x", "size"),
        ("size=10001", "size"),
        ("from=-1", "from"),
        ("sort=gridTimestamp:up", "sort"),
        ("searchAfter=1&searchAfter=2&searchAfter=3", "searchAfter"),
        ("query=(", ""),
    ],
)
def test_bad_input_is_named(ann: User, query: str, says: str) -> None:
    answer = ann.get(f"/logs?{query}")
    assert answer.status_code == 400
    assert says in answer.json["message"]
