"""Unprocessed messages over REST (rest-api.md §7, design.md §4.2 "Retry by hand")."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine import wiring
from engine.model.message import Message, new_id
from engine.services.records import unprocessed
from engine.settings import Settings
from tests.integration.api.conftest import User

CODE = """
from engine.sdk import Component, Context


class {name}(Component):
    effects = "none"

    def receive(self, context: Context) -> None:
        pass
"""
FIELDS = {"schema": {"type": "object"}, "inspector": {"inputs": {"a": {"type": "text"}}}}


@pytest.fixture(name="settings")
def with_connectors(tmp_path: Path) -> Settings:
    for name, ins in (("Begin", []), ("Step", [{"name": "in", **FIELDS}])):
        folder = tmp_path / "connectors/acme/test/core" / name
        folder.mkdir(parents=True)
        manifest = {"name": f"acme.test.core.{name}", "inPorts": ins, "outPorts": ["out"]}
        (folder / "component.json").write_bytes(orjson.dumps(manifest))
        (folder / "component.py").write_text(CODE.format(name=name))
    (tmp_path / "connectors/acme/test/service.json").write_bytes(orjson.dumps({"name": "acme.test", "label": "T"}))
    return Settings(
        data=tmp_path / "data", secret="a secret of the tests, long enough", connectors=tmp_path / "connectors"
    )


def step(sender: str, text: str) -> dict[str, Any]:
    mapping = {"type": "json2new", "lambda": {"a": text}, "modifiers": {}}
    return {
        "type": "acme.test.core.Step",
        "source": {"in": {sender: ["out"]}},
        "config": {"transform": {"in": {sender: {"out": mapping}}}},
    }


FLOW = {"begin": {"type": "acme.test.core.Begin", "source": {}}, "one": step("begin", "x"), "two": step("one", "y")}


@pytest.fixture
def flow_id(ann: User, platform: wiring.Platform) -> str:
    created = str(ann.post("/flows", {"name": "F", "flow": FLOW}).json["flowId"])
    platform.lifecycle.start(created)
    return created


def store(platform: wiring.Platform, flow_id: str, **changes: Any) -> Message:
    """Keep a message for `two` that failed in the flow's present run and revision."""
    record = platform.documents.get("flows", flow_id)
    assert record is not None
    message = Message(
        id=new_id(), flow_id=flow_id, run=record.get("run") or 0, revision=record["revision"], component_id="two",
        correlation_id=new_id(), port="in", content={"sent": 1}, scope={}, created=platform.clock.now(),
        sender_id="one", sender_port="out", attempt=29,
    )  # fmt: skip
    message = replace(message, **changes)
    error = {"message": "it failed", "code": "500", "name": "StepError"}
    write = unprocessed(message, record["userId"], platform.clock.now(), error, {"a": "y"})
    assert write.doc is not None
    platform.documents.put("unprocessed", write.doc)
    return message


def waiting(platform: wiring.Platform, flow_id: str) -> list[Message]:
    return platform.bus.remove(flow_id, 10, lambda _: [])[0]


def test_a_record_is_shown_as_documented(ann: User, platform: wiring.Platform, flow_id: str) -> None:
    message = store(platform, flow_id)
    (record,) = ann.get("/unprocessed-messages").json
    assert set(record) == {"messageId", "flowId", "componentId", "messages", "created", "err"}
    assert (record["messageId"], record["flowId"], record["componentId"]) == (message.id, flow_id, "two")
    assert orjson.loads(record["err"])["message"] == "it failed"
    (entry,) = record["messages"]["in"]
    assert (entry["content"], entry["originalContent"]) == ({"a": "y"}, {"sent": 1})
    assert entry["properties"]["correlationId"] == message.correlation_id
    assert ann.get(f"/unprocessed-messages/{message.id}").json == record


def test_lists_are_filtered(ann: User, platform: wiring.Platform, flow_id: str) -> None:
    other = str(ann.post("/flows", {"flow": FLOW}).json["flowId"])
    first, second = store(platform, flow_id), store(platform, other)

    def ids(query: str) -> list[str]:
        return [record["messageId"] for record in ann.get(f"/unprocessed-messages?{query}").json]

    assert set(ids("")) == {first.id, second.id}
    assert ids(f"flowId={other}") == [second.id]
    assert ids(f"correlationId={first.correlation_id}") == [first.id]
    assert ids(f"flowId={other}&correlationId={first.correlation_id}") == []
    assert len(ids("limit=1")) == 1


@pytest.mark.parametrize("address", ["/unprocessed-messages/{id}", "/unprocessed-messages/{id}/retry"])
def test_a_message_is_sent_again(ann: User, platform: wiring.Platform, flow_id: str, address: str) -> None:
    message = store(platform, flow_id, scope={"begin": {"out": 5}})
    answer = ann.post(address.format(id=message.id))
    assert (answer.status_code, answer.json) == (200, {})
    (sent,) = waiting(platform, flow_id)
    assert sent.id != message.id
    assert sent.attempt == 0
    assert (sent.content, sent.scope, sent.correlation_id) == (
        {"sent": 1},
        {"begin": {"out": 5}},
        message.correlation_id,
    )
    assert (sent.component_id, sent.port, sent.sender_id) == ("two", "in", "one")
    assert ann.get("/unprocessed-messages").json == []
    assert ann.post(address.format(id=message.id)).status_code == 404


def test_it_goes_into_the_present_run_and_the_newest_revision(
    ann: User, platform: wiring.Platform, flow_id: str
) -> None:
    message = store(platform, flow_id)
    ann.put(f"/flows/{flow_id}?forceUpdate=true", {"flow": {**FLOW, "three": step("two", "z")}})
    ann.post(f"/unprocessed-messages/{message.id}")
    record = platform.documents.get("flows", flow_id)
    assert record is not None
    (sent,) = waiting(platform, flow_id)
    assert (sent.run, sent.revision) == (record["run"], record["revision"])
    assert sent.revision > message.revision


def test_what_the_new_revision_reads_is_found_in_the_log(ann: User, platform: wiring.Platform, flow_id: str) -> None:
    message = store(platform, flow_id)
    changed = {**FLOW, "two": step("one", "{{{$.begin.out.n}}} {{{$.one.out.sent}}}")}
    assert ann.put(f"/flows/{flow_id}?forceUpdate=true", {"flow": changed}).status_code == 200
    missing = ann.post(f"/unprocessed-messages/{message.id}")
    assert missing.status_code == 400
    assert "'out' of Begin" in missing.json["message"]
    logged = {
        "id": new_id(), "created": platform.clock.now(), "severity": "info", "type": "data", "componentId": "begin",
        "portType": "out", "port": "out", "correlationId": message.correlation_id, "flowId": flow_id, "msg": '{"n":7}',
    }  # fmt: skip
    platform.log_index.append([logged])
    assert ann.post(f"/unprocessed-messages/{message.id}").status_code == 200
    (sent,) = waiting(platform, flow_id)
    assert sent.scope == {"begin": {"out": {"n": 7}}, "one": {"out": {"sent": 1}}}
    store(platform, flow_id, id=message.id, correlation_id=message.correlation_id, revision=message.revision)
    platform.log_index.append([{**logged, "id": new_id()}])
    several = ann.post(f"/unprocessed-messages/{message.id}")
    assert (several.status_code, "several times" in several.json["message"]) == (400, True)


def test_a_cut_record_is_no_substitute(ann: User, platform: wiring.Platform, flow_id: str) -> None:
    message = store(platform, flow_id)
    changed = {**FLOW, "two": step("one", "{{{$.begin.out.n}}}")}
    ann.put(f"/flows/{flow_id}?forceUpdate=true", {"flow": changed})
    platform.log_index.append(
        [{
            "id": new_id(), "created": platform.clock.now(), "componentId": "begin", "portType": "out", "port": "out",
            "correlationId": message.correlation_id, "flowId": flow_id, "msg": "7", "cut": 70_000,
        }]
    )  # fmt: skip
    answer = ann.post(f"/unprocessed-messages/{message.id}")
    assert (answer.status_code, "only a part" in answer.json["message"]) == (400, True)


def test_a_stopped_flow_takes_no_message(ann: User, platform: wiring.Platform, flow_id: str) -> None:
    message = store(platform, flow_id)
    platform.lifecycle.stop(flow_id)
    answer = ann.post(f"/unprocessed-messages/{message.id}")
    assert (answer.status_code, "start it" in answer.json["message"]) == (409, True)
    assert ann.get(f"/unprocessed-messages/{message.id}").status_code == 200


def test_a_step_that_is_gone_takes_no_message(ann: User, platform: wiring.Platform, flow_id: str) -> None:
    message = store(platform, flow_id)
    ann.put(f"/flows/{flow_id}?forceUpdate=true", {"flow": {"begin": FLOW["begin"], "one": FLOW["one"]}})
    answer = ann.post(f"/unprocessed-messages/{message.id}")
    assert (answer.status_code, "no step two" in answer.json["message"]) == (400, True)


def test_a_record_is_deleted(ann: User, platform: wiring.Platform, flow_id: str) -> None:
    message = store(platform, flow_id)
    assert ann.delete(f"/unprocessed-messages/{message.id}").json == {}
    assert ann.delete(f"/unprocessed-messages/{message.id}").status_code == 404
    assert ann.get("/unprocessed-messages").json == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/unprocessed-messages/{id}"),
        ("POST", "/unprocessed-messages/{id}"),
        ("POST", "/unprocessed-messages/{id}/retry"),
        ("DELETE", "/unprocessed-messages/{id}"),
    ],
)
def test_what_is_not_yours_does_not_exist(
    ann: User,
    stranger: User,
    admin: User,
    nobody: User,
    platform: wiring.Platform,
    flow_id: str,
    method: str,
    path: str,
) -> None:
    path = path.format(id=store(platform, flow_id).id)
    for user in (stranger, admin):
        assert user.call(method, path).status_code == 404
    assert nobody.call(method, path).status_code == 401
    assert stranger.get(f"/unprocessed-messages?flowId={flow_id}").json == []
    assert len(ann.get("/unprocessed-messages").json) == 1
