from __future__ import annotations

import inspect
from typing import Any

import orjson
import pytest

from connectors.appmixer.utils.http.hook_form import FORM, form, schema
from engine.rules import webhook_settings
from engine.sdk import CancelError, StepError
from tests.connectors.recorder import Recorder, manifest, run
from tests.connectors.world import World

HTTP = "appmixer.utils.http."
CALL = {"method": "POST", "hostname": "h", "headers": {"x": "1"}, "query": {"q": "2"}, "data": {"a": [1]}}
TRIGGERS = [("WebhookTrigger", "request"), ("Webhook", "trigger"), ("DynamicWebhook", "request")]


@pytest.mark.parametrize("type, port", TRIGGERS)
@pytest.mark.parametrize("properties", [{}, {"immediateResponse": True}, {"immediateResponse": None}])
def test_a_call_is_emitted_and_echoed(type: str, port: str, properties: dict[str, Any]) -> None:
    recorder = run(HTTP + type, {"webhook": CALL}, properties=properties)
    assert recorder.sent == [(port, CALL)]
    assert recorder.response == ({"a": [1]}, 200, {})


@pytest.mark.parametrize("type, port", TRIGGERS)
def test_without_an_immediate_response_a_later_step_answers(type: str, port: str) -> None:
    recorder = run(HTTP + type, {"webhook": CALL}, properties={"immediateResponse": False})
    assert recorder.sent == [(port, CALL)]
    assert recorder.response is None


def test_triggers_cost_nothing_to_repeat() -> None:
    for name, _ in TRIGGERS:
        assert Recorder(HTTP + name).component.effects == "none"
        schema = manifest(HTTP + name).properties_schema
        assert schema is not None
        assert schema["properties"]["immediateResponse"] == {"type": "boolean", "default": True}


@pytest.mark.parametrize("type, port", TRIGGERS[:2])
def test_the_form_shows_the_address(type: str, port: str) -> None:
    recorder = run(HTTP + type, properties={"generateInspector": True})
    [(sent_to, form)] = recorder.sent
    assert sent_to == port
    assert form["inputs"]["url"]["defaultValue"] == "https://headrace.test/flows/flow-1/components/c1"
    assert form["inputs"]["url"]["readonly"] is True
    assert form["inputs"]["immediateResponse"]["defaultValue"] is True


@pytest.mark.parametrize("type, port", TRIGGERS)
def test_what_the_settings_ask_for_is_handed_on(type: str, port: str) -> None:
    call = {**CALL, "rawBody": '{"a":[1]}', "claims": {"sub": "me"}}
    assert run(HTTP + type, {"webhook": call}).sent == [(port, call)]
    offered = next(p for p in manifest(HTTP + type).out_ports if p.name == port).options
    assert {"rawBody", "claims"} <= {option["value"] for option in offered}


@pytest.mark.parametrize("type, port", TRIGGERS)
def test_the_settings_of_the_engine_are_in_manifest_and_form(type: str, port: str) -> None:
    found = manifest(HTTP + type)
    assert found.webhook_settings
    assert found.properties_schema is not None
    for name in FORM:
        assert found.properties_schema["properties"][name] == schema(name)
    inputs = found.raw["properties"]["inspector"]["inputs"]
    if "source" in inputs.get("url", {}):
        inputs = run(HTTP + type, properties={"generateInspector": True}).sent[0][1]["inputs"]
    assert {name: field for name, field in inputs.items() if name in FORM} == form(len(inputs) - len(FORM) + 1)
    assert [field["index"] for field in inputs.values()] == list(range(1, len(inputs) + 1))
    assert inputs["checkSecret"]["type"] == "password"


def test_the_engine_reads_all_settings_of_the_form() -> None:
    source = inspect.getsource(webhook_settings)
    assert [name for name in FORM if f'"{name}"' not in source] == []
    options = {name: [o["value"] for o in field.get("options", ())] for name, field in FORM.items()}
    assert tuple(options["check"]) == webhook_settings.CHECKS
    assert tuple(options["checkHash"]) == webhook_settings.HASHES


@pytest.mark.parametrize("content", [{"any": 1}, "text", None, [1]])
def test_the_legacy_webhook_answers_with_what_arrives(content: Any) -> None:
    recorder = run(HTTP + "Webhook", {"response": content})
    assert recorder.response == (content, 200, {})
    assert recorder.sent == []


# -- Response


def respond(**fields: Any) -> Recorder:
    return run(HTTP + "Response", {"in": fields})


def test_response_defaults() -> None:
    assert respond().response == (None, 200, {})


@pytest.mark.parametrize("headers", [{"X": "1", "n": 2}, '{"X": "1", "n": 2}'])
def test_response_with_everything(headers: Any) -> None:
    assert respond(body={"a": 1}, statusCode=422, headers=headers).response == ({"a": 1}, 422, {"X": "1", "n": "2"})


def test_a_text_declared_json_is_parsed_if_the_header_is_written_exactly_so() -> None:
    assert respond(body='{"a":1}', headers={"Content-type": "application/json"}).response == (
        {"a": 1},
        200,
        {"Content-type": "application/json"},
    )
    assert respond(body="{", headers={"Content-Type": "application/json"}).response == (
        "{",
        200,
        {"Content-Type": "application/json"},
    )
    with pytest.raises(CancelError, match="body: must be JSON"):
        respond(body="{", headers={"Content-type": "application/json"})


def test_wrong_headers_discard_the_message() -> None:
    with pytest.raises(CancelError, match="headers: must be a JSON object"):
        respond(headers="nonsense")


@pytest.mark.parametrize("status, seen", [("404", 404), (None, 200), ("", 200), (201.0, 201)])
def test_status_codes(status: Any, seen: int) -> None:
    recorder = respond(statusCode=status)
    assert recorder.response is not None
    assert recorder.response[1] == seen


@pytest.mark.parametrize("status", [0, 99, 600, "abc", [1]])
def test_a_status_that_is_none_discards_the_message(status: Any) -> None:
    with pytest.raises(CancelError, match="statusCode"):
        respond(statusCode=status)


# -- DynamicWebhook

SETTINGS = {
    "onStartRequestUrl": "https://api.test/hooks",
    "onStartRequestHeaders": '{"Authorization": "Bearer x"}',
    "onStartRequestBody": '{"url": "https://headrace.test/hook"}',
    "onStopRequestUrl": "https://api.test/hooks/{$response.body#/data/0/id}",
    "onStopRequestHeaders": '{"If-Match": "{$response.header.ETag}"}',
    "onStopRequestBody": (
        '{"id": "{$response.body#/data/0/id}", "note": "no {$response.body#/data/0/id}/{$response.body#/no}"}'
    ),
}


def dynamic(world: World, **changes: Any) -> Recorder:
    return Recorder(HTTP + "DynamicWebhook", properties=SETTINGS | changes, world=world)


def test_start_subscribes_and_stop_unsubscribes() -> None:
    world = World()
    world.http.answer(201, {"data": [{"id": 17}]}, {"ETag": '"v1"'})
    world.http.answer(204)
    recorder = dynamic(world)
    recorder.start()
    recorder.stop()
    start, stop = world.http.requests
    assert (start.method, start.url) == ("POST", "https://api.test/hooks")
    assert start.headers["Authorization"] == "Bearer x"
    assert orjson.loads(start.body) == {"url": "https://headrace.test/hook"}
    assert (stop.method, stop.url) == ("DELETE", "https://api.test/hooks/17")
    assert stop.headers["If-Match"] == '"v1"'
    assert orjson.loads(stop.body) == {"id": 17, "note": "no 17/"}


def test_an_expression_may_stand_in_place_of_a_json_value() -> None:
    world = World()
    world.http.answer(200, {"a/b": {"~": [None, "text"]}})
    world.http.answer(200)
    recorder = dynamic(world, onStopRequestBody='{"x": {$response.body#/a~1b/~0/1}, "all": {$response.body}}')
    recorder.start()
    recorder.stop()
    assert orjson.loads(world.http.requests[1].body) == {"x": "text", "all": {"a/b": {"~": [None, "text"]}}}


def test_methods_can_be_chosen_and_get_has_no_body() -> None:
    world = World()
    world.http.answer(200, "plain text")
    world.http.answer(200)
    recorder = dynamic(world, onStartRequestMethod="get", onStopRequestMethod="PATCH")
    recorder.start()
    recorder.stop()
    start, stop = world.http.requests
    assert (start.method, start.body, stop.method) == ("GET", b"", "PATCH")


@pytest.mark.parametrize(
    "changes, field",
    [
        ({"onStartRequestHeaders": ""}, "onStartRequestHeaders"),
        ({"onStartRequestHeaders": "{"}, "onStartRequestHeaders"),
        ({"onStartRequestHeaders": "[]"}, "headers"),
        ({"onStartRequestBody": None}, "onStartRequestBody"),
        ({"onStartRequestBody": "nonsense"}, "onStartRequestBody"),
        ({"onStartRequestMethod": "trace"}, "onStartRequestMethod"),
        ({"onStartRequestUrl": ""}, "url"),
    ],
)
def test_wrong_settings_stop_the_start(changes: dict[str, Any], field: str) -> None:
    world = World()
    with pytest.raises(StepError, match=f"^{field}: "):
        dynamic(world, **changes).start()
    assert world.http.requests == []


def test_a_refused_subscription_stops_the_start() -> None:
    world = World()
    world.http.answer(403, {"message": "not you"})
    with pytest.raises(StepError, match="not you"):
        dynamic(world).start()


def test_stop_without_an_address_calls_nobody() -> None:
    world = World()
    dynamic(world, onStopRequestUrl="").stop()
    assert world.http.requests == []


def test_stop_after_a_start_that_failed() -> None:
    world = World()
    world.http.answer(200)
    dynamic(world).stop()
    assert world.http.requests[0].url == "https://api.test/hooks/"
