"""Executions over REST. How they come about is tested with a running engine (tests/integration/engine)."""

from __future__ import annotations

from typing import Any

import pytest

from engine import wiring
from engine.model.message import new_id
from tests.integration.api.conftest import User

NOW = 1_790_000_000_000
STEPS = {
    "begin": {"type": "acme.shop.core.Begin", "label": "Begin"},
    "set": {
        "type": "appmixer.utils.controls.SetVariable",
        "label": "Set",
        "source": {"in": {"begin": ["out"]}},
        "config": {"transform": {}},
    },
}


def flow_of(user: User, **fields: Any) -> str:
    return str(user.post("/flows", {"name": "f", "flow": STEPS, **fields}).json["flowId"])


def ran(platform: wiring.Platform, flow_id: str, at: int = NOW, msg: str = '{"n":1}', **changes: Any) -> str:
    """An execution of one step, as the indexer would leave it. Returns its correlation id."""
    id_ = new_id(at)
    line = {
        "id": f"{id_}.0.1", "created": at, "severity": "info", "type": "data", "componentType": "acme.shop.core.Begin",
        "componentId": "begin", "portType": "out", "port": "out", "correlationId": id_, "flowId": flow_id, "msg": msg,
    }  # fmt: skip
    count = {
        "id": f"{id_}.0.r", "created": at, "type": "delivery", "flowId": flow_id, "correlationId": id_, "run": 1,
        "revision": 1, "trigger": "begin", "delta": 0, "steps": 1, **changes,
    }  # fmt: skip
    platform.log_index.append([line, count])
    return id_


def found(user: User, query: str = "") -> list[str]:
    answer = user.get(f"/executions?{query}")
    assert answer.status_code == 200, answer.json
    assert user.get(f"/executions/count?{query}").json == {"count": len(answer.json)}
    return [execution["correlationId"] for execution in answer.json]


def test_the_fields_of_one(ann: User, platform: wiring.Platform) -> None:
    flow_id = flow_of(ann)
    id_ = ran(platform, flow_id, unprocessed=1, errors=2, failedAt="begin")
    fields = {
        "correlationId": id_,
        "flowId": flow_id,
        "revision": 1,
        "trigger": "begin",
        "status": "failed",
        "started": "2026-09-21T14:13:20.000Z",
        "ended": "2026-09-21T14:13:20.000Z",
        "steps": 1,
        "errors": 2,
        "failedAt": "begin",
        "reason": None,
        "replayOf": None,
    }
    assert ann.get("/executions").json == [fields]
    answer = ann.get(f"/api/executions/{id_}").json
    (step,) = answer["steps"]
    assert {**answer, "steps": 1, "stepsTotal": 1} == {**fields, "stepsTotal": 1}
    assert step == {
        "componentId": "begin",
        "componentType": "acme.shop.core.Begin",
        "label": "Begin",
        "messageId": id_,
        "attempt": 0,
        "started": "2026-09-21T14:13:20.000Z",
        "duration": None,
        "input": None,
        "output": [{"port": "out", "content": {"n": 1}}],
        "error": None,
    }


def test_filters_order_and_pages(ann: User, platform: wiring.Platform) -> None:
    one, two = flow_of(ann), flow_of(ann)
    a = ran(platform, one, NOW, msg='"unicorn"')
    b = ran(platform, one, NOW + 1000, unprocessed=1, steps=7)
    c = ran(platform, two, NOW + 2000, delta=1)
    assert found(ann) == [c, b, a]
    assert found(ann, f"flowId={one}") == [b, a]
    assert found(ann, f"flowId={one}&flowId={two}&sort=started:1") == [a, b, c]
    assert found(ann, "status=failed") == [b]
    assert found(ann, "status=failed,running") == found(ann, "status=failed&status=running") == [c, b]
    assert found(ann, f"from={NOW + 1000}") == [c, b]
    assert found(ann, "to=2026-09-21T14:13:21Z") == [b, a]
    assert found(ann, "text=unicorn") == [a]
    assert found(ann, "sort=steps:-1,started:1") == [b, a, c]
    page = ann.get("/executions?limit=1&offset=1").json
    assert [execution["correlationId"] for execution in page] == [b]


@pytest.mark.parametrize(
    "query",
    ["status=done", "from=yesterday", "to=99999999999999999999", "sort=msg:1", "sort=started:up", "limit=-1", "text=("],
)
def test_bad_input_is_named(ann: User, query: str) -> None:
    flow_of(ann)
    answer = ann.get(f"/executions?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json["message"] or "query" in answer.json["message"]


def test_deep_pages_say_what_to_do(ann: User, platform: wiring.Platform) -> None:
    ran(platform, flow_of(ann))
    answer = ann.get("/executions?offset=10000")
    assert (answer.status_code, "page by time" in answer.json["message"]) == (400, True)


def test_own_and_shared_flows_only(
    ann: User, bob: User, stranger: User, admin: User, platform: wiring.Platform
) -> None:
    shared = flow_of(ann, sharedWith=[{"email": bob.name, "permissions": ["read"]}])
    secret = flow_of(ann)
    one, two = ran(platform, shared), ran(platform, secret, NOW + 1)
    ran(platform, "gone")
    assert found(ann) == [two, one]
    assert found(bob) == [one]
    assert found(stranger) == found(admin) == []
    assert found(admin, f"flowId={secret}") == [two]
    assert bob.get(f"/executions?flowId={secret}").status_code == 404
    assert bob.get(f"/executions/{one}").status_code == 200
    assert admin.get(f"/executions/{two}").status_code == 200
    for user in (bob, stranger):
        assert user.get(f"/executions/{two}").status_code == 404
        assert user.post(f"/executions/{two}/cancel").status_code == 404
        assert user.post(f"/executions/{two}/replay").status_code == 404
    assert bob.post(f"/executions/{one}/cancel").status_code == 403
    assert bob.post(f"/executions/{one}/replay").status_code == 403


def test_nobody_sees_nothing(nobody: User) -> None:
    for path in ("/executions", "/executions/count", "/executions/x"):
        assert nobody.get(path).status_code == 401
    for path in ("/executions/x/cancel", "/executions/x/replay"):
        assert nobody.post(path).status_code == 401


def test_an_unknown_one(ann: User) -> None:
    assert ann.get("/executions/nothing").status_code == 404
    assert ann.get("/executions/nothing").json["message"] == "there is no execution nothing"


def test_somebody_elses_under_the_same_id_is_not_shown(ann: User, bob: User, platform: wiring.Platform) -> None:
    """A caller of a webhook may name any correlation id."""
    theirs, mine = flow_of(ann), flow_of(bob)
    id_ = ran(platform, theirs, msg='"secret"')
    changes = {"id": "other", "flowId": mine, "correlationId": id_, "steps": 5, "delta": 0, "created": NOW + 1}
    platform.log_index.append([{"type": "delivery", "run": 1, "revision": 1, **changes}])
    answer = bob.get(f"/executions/{id_}").json
    assert (answer["flowId"], answer["stepsTotal"], answer["steps"]) == (mine, 0, [])
    assert ann.get(f"/executions/{id_}").json["flowId"] == theirs
    assert found(bob, "text=secret") == []


def test_cancelling(ann: User, bob: User, platform: wiring.Platform) -> None:
    flow_id = flow_of(ann, sharedWith=[{"email": bob.name, "permissions": ["read", "stop"]}])
    id_ = ran(platform, flow_id, delta=1)
    answer = bob.post(f"/executions/{id_}/cancel")
    assert (answer.status_code, answer.json["status"]) == (200, "cancelled")
    assert answer.json["reason"] == f"cancelled by {bob.name}"
    assert ann.get(f"/executions/{id_}").json["status"] == "cancelled"
    over = ran(platform, flow_id)
    assert bob.post(f"/executions/{over}/cancel").status_code == 409


def test_playing_again(ann: User, bob: User, platform: wiring.Platform) -> None:
    flow_id = flow_of(ann, sharedWith=[{"email": bob.name, "permissions": ["read", "start"]}])
    id_ = ran(platform, flow_id)
    assert bob.post(f"/executions/{id_}/replay").status_code == 409
    platform.lifecycle.start(flow_id)
    for body in (None, {"componentId": "set"}, {"revision": "original"}, {"componentId": None, "revision": "newest"}):
        answer = bob.post(f"/executions/{id_}/replay", body)
        assert answer.status_code == 200, answer.json
        assert answer.json["replayOf"] == id_
        assert answer.json["correlationId"] != id_
    assert platform.bus.depth(flow_id) == 4
    assert bob.post(f"/executions/{id_}/replay", {"revision": "oldest"}).status_code == 400
    answer = bob.post(f"/executions/{id_}/replay", {"componentId": "nowhere"})
    assert (answer.status_code, "nowhere" in answer.json["message"]) == (400, True)


def test_a_flow_takes_its_executions_along(ann: User, platform: wiring.Platform) -> None:
    flow_id = flow_of(ann)
    id_ = ran(platform, flow_id, delta=1)
    ann.post(f"/executions/{id_}/cancel")
    assert ann.delete(f"/flows/{flow_id}").status_code == 200
    assert platform.log_index.execution(id_) == []
    assert platform.documents.count("cancelled") == 0
