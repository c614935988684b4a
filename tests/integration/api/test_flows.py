"""Flows over REST: the record, lists, revisions, sharing, clones (rest-api.md §3, design-browser.md §1)."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from engine import wiring
from engine.ports import Query
from tests.integration.api.conftest import User

BEGIN = "acme.shop.core.Begin"
HOOK = {"type": "test.flows.Hook", "x": 1, "y": 2}
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def make(user: User, **fields: Any) -> str:
    answer = user.post("/flows", {"name": "a flow", **fields})
    assert answer.status_code == 200, answer.json
    return str(answer.json["flowId"])


def running(platform: wiring.Platform, flow_id: str, stage: str = "running") -> None:
    platform.documents.update("flows", flow_id, {"stage": stage})


def test_a_new_flow_has_the_documented_record(ann: User) -> None:
    flow_id = make(ann, name="Orders", flow={"h": HOOK}, customFields={"a": 1}, thumbnail="data:x", description="d")
    flow = ann.get(f"/flows/{flow_id}").json
    assert flow["flowId"] == flow_id
    assert flow["userId"] == ann.id
    assert (flow["name"], flow["stage"], flow["type"]) == ("Orders", "stopped", "automation")
    assert flow["flow"] == {"h": HOOK}
    assert (flow["customFields"], flow["thumbnail"], flow["description"]) == ({"a": 1}, "data:x", "d")
    assert ISO.fullmatch(flow["btime"])
    assert flow["btime"] == flow["mtime"]
    hidden = {"_id", "revision", "run", "search", "shared", "changedBy", "lease"}
    assert not hidden & set(flow)


def test_creating_answers_only_the_id_and_an_empty_body_will_do(ann: User) -> None:
    answer = ann.post("/flows", {})
    assert set(answer.json) == {"flowId"}
    flow = ann.get(f"/flows/{answer.json['flowId']}").json
    assert (flow["flow"], flow["customFields"]) == ({}, {})


def test_what_only_the_server_sets_is_ignored(ann: User) -> None:
    sent = {"userId": "eve", "stage": "running", "btime": 1, "mtime": "x", "_id": "x", "revision": 9, "junk": 1}
    flow_id = make(ann, **sent)
    assert ann.put(f"/flows/{flow_id}", {**sent, "flowId": "y", "name": "b"}).status_code == 200
    flow = ann.get(f"/flows/{flow_id}").json
    assert (flow["userId"], flow["stage"], flow["name"]) == (ann.id, "stopped", "b")
    assert "junk" not in flow


def test_saving_changes_the_given_fields_only(ann: User) -> None:
    flow_id = make(ann, flow={"h": HOOK}, customFields={"a": 1})
    answer = ann.put(f"/flows/{flow_id}", {"name": "other", "thumbnail": "t"})
    assert answer.json == {"flowId": flow_id, "result": "updated"}
    flow = ann.get(f"/flows/{flow_id}").json
    assert (flow["name"], flow["thumbnail"], flow["customFields"], flow["flow"]) == (
        "other",
        "t",
        {"a": 1},
        {"h": HOOK},
    )
    ann.put(f"/flows/{flow_id}", {"thumbnail": None})
    assert "thumbnail" not in ann.get(f"/flows/{flow_id}").json
    ann.put(f"/flows/{flow_id}/thumbnail", {"thumbnail": "u"})
    assert ann.get(f"/flows/{flow_id}").json["thumbnail"] == "u"


def test_saving_creates_a_flow_that_is_not_there(ann: User, bob: User) -> None:
    flow_id = str(uuid4())
    assert ann.put(f"/flows/{flow_id}", {"name": "new"}).json["flowId"] == flow_id
    assert ann.get(f"/flows/{flow_id}").json["name"] == "new"
    assert bob.put(f"/flows/{flow_id}", {"name": "mine now"}).status_code == 404
    assert ann.put("/flows/a:b", {"name": "new"}).status_code == 400


def test_every_change_is_a_revision(ann: User) -> None:
    flow_id = make(ann)
    first = ann.get(f"/flows/{flow_id}").headers["ETag"]
    assert first == '"1"'
    assert ann.put(f"/flows/{flow_id}", {"name": "a flow"}).headers["ETag"] == first
    saved = ann.put(f"/flows/{flow_id}", {"name": "b"}, headers={"If-Match": first})
    assert saved.headers["ETag"] == '"2"'
    late = ann.put(f"/flows/{flow_id}", {"name": "c"}, headers={"If-Match": first})
    assert late.status_code == 412
    assert (late.json["revision"], late.json["by"]) == (2, ann.name)
    assert ISO.fullmatch(late.json["mtime"])
    for tag in ('"nonsense"', '""', "bare", 'W/"x"', "\u00b2"):
        assert ann.put(f"/flows/{flow_id}", {"name": "c"}, headers={"If-Match": tag}).status_code == 412, tag
    assert ann.get(f"/flows/{flow_id}").json["name"] == "b"
    assert ann.put(f"/flows/{flow_id}", {"name": "c"}).status_code == 200
    assert ann.put(f"/flows/{uuid4()}", {"name": "c"}, headers={"If-Match": '"1"'}).status_code == 404


def test_of_many_savers_who_began_at_one_revision_one_wins(ann: User) -> None:
    flow_id = make(ann)
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda n: ann.put(f"/flows/{flow_id}", {"name": f"n{n}"}, headers={"If-Match": '"1"'}), range(8))
        )
    assert sorted(a.status_code for a in answers) == [200] + [412] * 7


def test_savers_of_different_fields_do_not_undo_each_other(ann: User) -> None:
    flow_id = make(ann)
    fields = ("name", "description", "thumbnail", "mode")
    with ThreadPoolExecutor(len(fields)) as pool:
        answers = list(pool.map(lambda field: ann.put(f"/flows/{flow_id}", {field: f"new {field}"}), fields))
    assert [a.status_code for a in answers] == [200] * len(fields)
    flow = ann.get(f"/flows/{flow_id}")
    assert [flow.json[field] for field in fields] == [f"new {field}" for field in fields]
    assert flow.headers["ETag"] == '"5"'


def test_a_running_flow_is_changed_by_force_only(ann: User, platform: wiring.Platform) -> None:
    flow_id = make(ann, flow={"h": HOOK})
    running(platform, flow_id)
    told: list[str] = []
    platform.cache.subscribe("flow-changed", told.append)
    changed = {"flow": {"h": {**HOOK, "label": "new"}}}
    refused = ann.put(f"/flows/{flow_id}", changed)
    assert refused.status_code == 409
    assert flow_id in refused.json["message"]
    assert told == []
    assert ann.put(f"/flows/{flow_id}", {"flow": {"h": HOOK}}).status_code == 200
    assert ann.put(f"/flows/{flow_id}", {"name": "renamed"}).status_code == 200
    assert ann.put(f"/flows/{flow_id}?forceUpdate=true", changed).status_code == 200
    assert told == [flow_id, flow_id]
    former = platform.documents.get("revisions", f"{flow_id}:2")
    assert former is not None
    assert former["flow"] == {"h": HOOK}
    flow = ann.get(f"/flows/{flow_id}").json
    assert flow["flow"]["h"]["label"] == "new"
    assert flow["stage"] == "running"


@pytest.mark.parametrize(
    "fields, path",
    [
        ({"flow": []}, "flow"),
        ({"flow": {"a": "x"}}, "flow.a"),
        ({"flow": {"a": {}}}, "flow.a.type"),
        ({"flow": {"a": {"type": "t", "source": {"in": {"b": [1]}}}}}, "flow.a.source.in.b"),
        ({"flow": {"a": {"type": "t", "config": {"transform": {"in": {"b": {"out": 3}}}}}}}, "flow.a.config.transform"),
        ({"flow": {"a.b": {"type": "t"}}}, "flow.a.b"),
        ({"flow": {"a": {"type": "t", "errorHandling": {"onError": "pray"}}}}, "flow.a.errorHandling.onError"),
        ({"name": 5}, "name"),
        ({"customFields": []}, "customFields"),
        ({"sharedWith": [{"email": "x@y.z"}]}, "sharedWith[0]"),
        ({"sharedWith": "all"}, "sharedWith"),
        ({"accounts": {"a": 5}}, "accounts.a"),
    ],
)
def test_a_wrong_field_is_named_by_its_path(ann: User, fields: dict[str, Any], path: str) -> None:
    flow_id = make(ann)
    for answer in (ann.post("/flows", fields), ann.put(f"/flows/{flow_id}", fields)):
        assert answer.status_code == 400
        assert answer.json["message"].startswith(path)
        assert answer.json["details"][0]["path"].startswith(path)


def test_a_draft_may_be_saved(ann: User, platform: wiring.Platform) -> None:
    draft = {"a": {"type": "no.such.Thing", "source": {"in": {"gone": ["out"], "a": ["out"]}}, "extra": {"kept": 1}}}
    flow_id = make(ann, flow=draft)
    assert ann.get(f"/flows/{flow_id}").json["flow"] == draft
    errors = ann.get(f"/flows/{flow_id}/validate").json["errors"]
    assert errors[0]["componentId"] == "a"
    assert errors[0]["keyword"] == "unknownComponent"
    assert ann.post(f"/flows/{flow_id}/coordinator", {"command": "start"}).status_code == 400
    assert ann.get(f"/flows/{flow_id}").json["stage"] == "stopped"


def test_variables_that_will_be_empty_are_warned_of(ann: User) -> None:
    mapping = {"lambda": {"body": "{{{v}}}"}, "modifiers": {"body": {"v": {"variable": "$.off.count.count"}}}}
    flow = {
        "hook": {"type": "appmixer.utils.http.WebhookTrigger", "source": {}},
        "off": {"type": "appmixer.utils.controls.Counter", "source": {"item": {"hook": ["request"]}}, "disabled": True},
        "end": {
            "type": "appmixer.utils.http.Response",
            "label": "Answer",
            "source": {"in": {"off": ["count"]}},
            "config": {"transform": {"in": {"off": {"count": mapping}}}},
        },
    }
    flow_id = make(ann, flow=flow)
    path = "flow.end.config.transform.in.off.count.lambda.body"
    message = "Answer, body: reads Counter, which is disabled; its value will be empty"
    warning = {"componentId": "end", "path": path, "keyword": "emptyVariable", "message": message}
    assert ann.get(f"/flows/{flow_id}/validate").json == {"errors": [], "warnings": [warning]}
    started = ann.post(f"/flows/{flow_id}/coordinator", {"command": "start"})
    assert started.status_code == 200, started.text


def test_too_large_a_descriptor_is_413(ann: User) -> None:
    big = {"a": {"type": "t", "config": {"properties": {"x": "y" * 2 * 1024 * 1024}}}}
    answer = ann.post("/flows", {"flow": big})
    assert answer.status_code == 413
    assert "descriptor" in answer.json["message"]
    assert ann.post("/flows", {"thumbnail": "y" * 3 * 1024 * 1024}).status_code == 413


def test_too_deep_a_flow_is_400(ann: User) -> None:
    deep: Any = 1
    for _ in range(300):
        deep = {"x": deep}
    answer = ann.post("/flows", {"flow": {"a": {"type": "t", "config": {"properties": {"x": deep}}}}})
    assert answer.status_code == 400
    assert "descriptor" in answer.json["message"]


def test_lists_sort_page_search_and_project(ann: User, bob: User) -> None:
    ids = {name: make(ann, name=name, customFields={"n": n}) for n, name in enumerate(("b", "a", "C"))}
    make(bob, name="not ann's")
    assert [f["name"] for f in ann.get("/flows?sort=name:1").json] == ["C", "a", "b"]
    assert [f["name"] for f in ann.get("/flows?sort=name:-1&limit=1&offset=1").json] == ["a"]
    assert ann.get("/flows/count").json == {"count": 3}
    assert [f["name"] for f in ann.get("/flows?pattern=^c$").json] == ["C"]
    assert [f["name"] for f in ann.get(f"/flows?pattern={ids['a']}").json] == ["a"]
    assert ann.get("/flows/count?pattern=^[ab]$").json == {"count": 2}
    assert [f["name"] for f in ann.get("/flows?filter=customFields.n:1").json] == ["a"]
    assert [f["name"] for f in ann.get("/flows?filter=name:!a&filter=stage:stopped&sort=name:1").json] == ["C", "b"]
    assert ann.get("/flows?filter=mtime:>2020-01-01&projection=name").json != []
    assert ann.get("/flows/count?filter=mtime:<2020-01-01").json == {"count": 0}
    assert set(ann.get("/flows?projection=name,flowId").json[0]) == {"name", "flowId"}
    without = ann.get("/flows?projection=-flow,-thumbnail,-userId").json[0]
    assert "flow" not in without
    assert "userId" not in without
    assert without["stage"] == "stopped"
    assert ann.get("/flows?limit=x").status_code == 400
    assert set(ann.get(f"/flows/{ids['a']}?projection=name").json) == {"flowId", "name"}


def test_newest_changes_come_first(ann: User) -> None:
    first, second = make(ann, name="1"), make(ann, name="2")
    ann.put(f"/flows/{first}", {"name": "1 again"})
    assert {f["flowId"] for f in ann.get("/flows").json} == {first, second}
    times = [f["mtime"] for f in ann.get("/flows").json]
    assert times == sorted(times, reverse=True)


def test_shared_flows_are_listed_with_one_share(ann: User, bob: User, stranger: User) -> None:
    shares = [
        {"email": "BOB@acme.test", "permissions": ["read", "start"]},
        {"email": "eve@x.test", "permissions": ["read"]},
    ]
    flow_id = make(ann, sharedWith=shares)
    own = make(bob)
    assert {f["flowId"] for f in bob.get("/flows").json} == {flow_id, own}
    assert bob.get("/flows/count").json == {"count": 2}
    assert [f["flowId"] for f in bob.get(f"/flows?filter=userId:{bob.id}").json] == [own]
    assert {f["flowId"] for f in bob.get("/flows?sharedWithPermissions=read,start").json} == {flow_id, own}
    assert [f["flowId"] for f in bob.get("/flows?sharedWithPermissions=stop").json] == [own]
    assert bob.get("/flows?sharedWithPermissions=fly").status_code == 400
    seen = bob.get(f"/flows/{flow_id}").json
    assert seen["sharedWith"] == [{"email": "bob@acme.test", "permissions": ["read", "start"]}]
    assert len(ann.get(f"/flows/{flow_id}").json["sharedWith"]) == 2
    assert stranger.get("/flows").json == []
    assert set(bob.get("/flows?projection=name&pattern=a flow").json[0]) == {"flowId", "name"}
    ann.put(f"/flows/{flow_id}", {"sharedWith": []})
    assert [f["flowId"] for f in bob.get("/flows").json] == [own]
    assert bob.get(f"/flows/{flow_id}").status_code == 404


def test_an_administrator_sees_everybodys_flows_when_asking_by_user(ann: User, bob: User, admin: User) -> None:
    of_ann, _ = make(ann), make(bob)
    own = make(admin)
    assert [f["flowId"] for f in admin.get("/flows").json] == [own]
    assert [f["flowId"] for f in admin.get(f"/flows?filter=userId:{ann.id}").json] == [of_ann]
    assert bob.get(f"/flows?filter=userId:{ann.id}").json == []


def test_versions_are_kept_or_taken_from_the_catalogue(ann: User) -> None:
    flow_id = make(ann, flow={"h": {**HOOK, "version": "1.2.3"}})
    ann.put(f"/flows/{flow_id}", {"flow": {"h": {**HOOK, "label": "no version sent"}}})
    assert ann.get(f"/flows/{flow_id}").json["flow"]["h"]["version"] == "1.2.3"
    ann.put(f"/flows/{flow_id}", {"flow": {"h": {"type": "another.type.X"}}})
    assert "version" not in ann.get(f"/flows/{flow_id}").json["flow"]["h"]
    ann.put(f"/flows/{flow_id}", {"flow": {"h": {"type": BEGIN}}})
    assert ann.get(f"/flows/{flow_id}").json["flow"]["h"]["version"] == "2.1.0"


def account(platform: wiring.Platform, user: User) -> str:
    account_id = uuid4().hex[:24]
    platform.documents.insert("accounts", {"_id": account_id, "userId": user.id, "service": "a:b", "token": ""})
    return account_id


def test_accounts_are_bound_in_the_same_save(ann: User, bob: User, platform: wiring.Platform) -> None:
    own, foreign = account(platform, ann), account(platform, bob)
    flow_id = make(ann, flow={"h": HOOK, "i": HOOK}, accounts={"h": own, "gone": own})
    assert ann.get(f"/flows/{flow_id}").json["accounts"] == {"h": own}
    refused = ann.put(f"/flows/{flow_id}", {"accounts": {"h": foreign}})
    assert refused.status_code == 400
    assert refused.json["message"].startswith("accounts.h")
    ann.put(f"/flows/{flow_id}", {"flow": {"h": HOOK}})
    assert ann.get(f"/flows/{flow_id}").json["accounts"] == {"h": own}
    ann.put(f"/flows/{flow_id}", {"flow": {"h": {"type": "another.type.X"}}})
    assert ann.get(f"/flows/{flow_id}").json["accounts"] == {}


def test_deleting_removes_what_belongs_to_the_flow(ann: User, platform: wiring.Platform) -> None:
    flow_id = make(ann, flow={"h": HOOK})
    other = make(ann)
    for collection in ("timers", "unprocessed", "continuity", "listeners", "revisions"):
        for belongs_to in (flow_id, other):
            platform.documents.insert(collection, {"_id": belongs_to, "flowId": belongs_to, "due": 2**52})
    platform.state.apply(f"flow:{flow_id}", "1", "set", "a", 1)
    assert ann.delete(f"/flows/{flow_id}").json == {"flowId": flow_id}
    assert ann.get(f"/flows/{flow_id}").status_code == 404
    assert ann.delete(f"/flows/{flow_id}").status_code == 404
    assert platform.state.load(f"flow:{flow_id}") == {}
    for collection in ("timers", "unprocessed", "continuity", "listeners", "revisions"):
        assert [doc["_id"] for doc in platform.documents.find(collection, Query())] == [other]


def test_a_clone_is_the_callers_own_with_new_component_ids(ann: User, bob: User, platform: wiring.Platform) -> None:
    flow = {"h": HOOK, "s": {"type": "t.t.T", "source": {"in": {"h": ["out"]}}}}
    own = account(platform, ann)
    shares = [{"email": bob.name, "permissions": ["read"]}]
    flow_id = make(ann, flow=flow, customFields={"a": 1}, thumbnail="t", sharedWith=shares, accounts={"h": own})
    body = {"prefix": "Copy of ", "projection": "-thumbnail", "connectAccounts": True, "setOriginFlowId": True}
    clone = bob.get(f"/flows/{bob.post(f'/flows/{flow_id}/clone', body).json['cloneId']}").json
    assert (clone["userId"], clone["name"], clone["customFields"]) == (bob.id, "Copy of a flow", {"a": 1})
    assert clone["originFlowId"] == flow_id
    ids = clone["componentIdMap"]
    assert set(ids) == {"h", "s"}
    assert clone["flow"][ids["s"]]["source"] == {"in": {ids["h"]: ["out"]}}
    assert clone["accounts"] == {}
    assert "thumbnail" not in clone
    assert "sharedWith" not in clone
    extra = {
        "connectAccounts": True,
        "isTemplateInstance": True,
        "setComponentIdMap": False,
        "additional": {"name": "n"},
    }
    mine = ann.get(f"/flows/{ann.post(f'/flows/{flow_id}/clone', extra).json['cloneId']}").json
    assert (mine["name"], mine["templateId"], "componentIdMap" in mine) == ("n", flow_id, False)
    assert list(mine["accounts"].values()) == [own]


def test_starting_and_stopping(ann: User, platform: wiring.Platform) -> None:
    flow_id = make(ann, flow={"s": {"type": BEGIN}})
    started = ann.post(f"/flows/{flow_id}/coordinator", {"command": "start"})
    assert started.status_code == 200, started.json
    assert started.json["flowId"] == flow_id
    assert started.json["ticket"]
    assert ann.get(f"/flows/{flow_id}/coordinator/status").json["status"] == "completed"
    assert ann.get(f"/flows/{flow_id}").json["stage"] == "running"
    assert ISO.fullmatch(ann.get(f"/flows/{flow_id}").json["started"])
    assert ann.post(f"/flows/{flow_id}/coordinator", {"command": "stop"}).json["flowId"] == flow_id
    assert ann.get(f"/flows/{flow_id}").json["stage"] == "stopped"
    assert ann.post(f"/flows/{flow_id}/coordinator", {"command": "pause"}).status_code == 400
    assert ann.post(f"/flows/{flow_id}/coordinator", {"command": "start"}).status_code == 200
    in_background = ann.post(f"/flows/{flow_id}/coordinator", {"command": "stop", "background": True})
    assert in_background.json == {"flowId": flow_id, "ticket": flow_id}


def test_a_running_flow_is_stopped_before_it_is_deleted(ann: User, platform: wiring.Platform) -> None:
    flow_id = make(ann, flow={"s": {"type": BEGIN}})
    assert ann.post(f"/flows/{flow_id}/coordinator", {"command": "start"}).status_code == 200
    assert ann.delete(f"/flows/{flow_id}").status_code == 200
    assert ann.get(f"/flows/{flow_id}").status_code == 404
