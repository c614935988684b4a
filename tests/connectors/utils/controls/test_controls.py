from __future__ import annotations

from typing import Any

import pytest

from engine.sdk import Incoming, LockNotAcquired
from tests.connectors.recorder import Recorder, run, transform
from tests.connectors.world import World

C = "appmixer.utils.controls."


def test_on_start_sends_once_the_time_of_the_start() -> None:
    assert run(C + "OnStart", hook="start").sent == [("out", {"started": "2025-04-25T07:38:12.000Z"})]


def test_join_passes_on_any_content() -> None:
    for content in ({"a": 1}, None, [1], "x"):
        assert run(C + "Join", {"in": content}).sent == [("out", content)]


def test_stop_flow_asks_for_the_stop_and_sends_nothing() -> None:
    recorder = run(C + "StopFlow", {"in": {}})
    assert recorder.stopped
    assert recorder.sent == []


def test_mock_value() -> None:
    assert run(C + "MockValue", {"in": {"value": "v"}}).sent == [("out", {"outvalue": "v"})]


def test_testing_sends_the_time() -> None:
    assert run(C + "Testing", {"in": {"in1": 1}}).sent == [("out", {"out1value": "2025-04-25T07:38:12.000Z"})]


@pytest.mark.parametrize("module", ["controls", "timers"])
def test_time_zones_can_be_chosen_from(module: str) -> None:
    name = f"appmixer.utils.{module}.ListTimeZones"
    ((port, content),) = run(name, properties={"sendWholeArray": True}).sent
    assert port == "out"
    options = transform(name, "./ListTimeZones#timezonesToSelectArray")(content)
    assert {"label": "Prague (Europe/Prague)", "value": "Europe/Prague"} in options


# -- Counter


def counter(**properties: Any) -> Recorder:
    return Recorder(C + "Counter", properties=properties).start()


def test_counter_sends_the_new_value() -> None:
    recorder = counter(count=5, increment=2)
    recorder.receive({"item": {"x": 1}}).receive({"item": None})
    assert recorder.sent == [("count", {"count": 7}), ("count", {"count": 9})]


def test_counter_resets_to_a_value_or_the_initial_one_silently() -> None:
    recorder = counter(count=1, increment=-1)
    recorder.receive({"reset": {"count": 10}})
    assert recorder.take() == []
    recorder.receive({"item": {}})
    assert recorder.take() == [("count", {"count": 9})]
    recorder.receive({"reset": {}}).receive({"item": {}})
    assert recorder.take() == [("count", {"count": 0})]
    recorder.receive({"reset": {"count": 0}}).receive({"item": {}})
    assert recorder.take() == [("count", {"count": -1})]


def test_counter_copes_without_properties_and_counts_a_redelivery_once() -> None:
    recorder = counter()
    recorder.receive({"item": {}}, message_id="m").receive({"item": {}}, message_id="m")
    assert recorder.sent == [("count", {"count": 1})] * 2


# -- SetVariable


def variables(*entries: dict[str, Any]) -> Any:
    return run(C + "SetVariable", {"in": {"variables": {"ADD": list(entries)}}}).sent


def test_values_stand_under_the_key_of_their_type() -> None:
    assert variables(
        {"name": "n", "type": "number", "number": "5", "text": "ignored"},
        {"name": "t", "type": "text", "text": "hello"},
        {"name": "l", "type": "textarea", "textarea": "two\nlines"},
        {"name": "d", "type": "date-time", "date-time": "2025-04-25T00:00:00Z"},
        {"name": "b", "type": "toggle", "toggle": False},
        {"name": "f", "type": "filepicker", "filepicker": "file-1"},
        {"name": "o", "type": "text", "text": {"kept": ["as", "is"]}},
    ) == [
        (
            "out",
            {
                "n": "5",
                "t": "hello",
                "l": "two\nlines",
                "d": "2025-04-25T00:00:00Z",
                "b": False,
                "f": "file-1",
                "o": {"kept": ["as", "is"]},
            },
        )
    ]


def test_later_duplicates_win_and_nameless_entries_are_left_out() -> None:
    entries = ({"name": "a", "text": "1"}, {"type": "text", "text": "no name"}, {"name": "a", "text": "2"})
    assert variables(*entries) == [("out", {"a": "2"})]


@pytest.mark.parametrize("content", [{"variables": {}}, {"variables": {"ADD": []}}, {"variables": None}, {}])
def test_no_variables_are_an_empty_object(content: dict[str, Any]) -> None:
    assert run(C + "SetVariable", {"in": content}).sent == [("out", {})]


def test_set_variable_options_are_the_names() -> None:
    entries = [{"name": "n", "type": "number"}, {"name": "t"}, {}, {"name": "f", "type": "filepicker"}]
    properties = {"generateOutputPortOptions": True}
    recorder = run(C + "SetVariable", {"in": {"variables": {"ADD": entries}}}, properties=properties)
    assert recorder.sent[0][1] == [
        {"label": "n", "value": "n", "schema": {"type": "number"}},
        {"label": "t", "value": "t", "schema": {"type": "string"}},
        {"label": "f", "value": "f", "schema": {"type": "string", "format": "appmixer-file-id"}},
    ]
    assert run(C + "SetVariable", properties=properties).sent == [("out", [])]


# -- OnError


def record(number: int, **more: Any) -> dict[str, Any]:
    return {
        "_id": f"r{number:05}",
        "sort": [number, f"r{number:05}"],
        "gridTimestamp": f"2025-04-25T07:00:00.{number % 1000:03}Z",
        "msg": f"error {number}",
        "err": "{}",
        "componentId": "x",
        "componentType": "acme.shop.core.Buy",
        "inputMessages": {"in": []},
        **more,
    }


def watcher(count: int, **setting: Any) -> Recorder:
    world = World()
    world.log_records = [record(n) for n in range(count)]
    flow = {"c1": {"type": C + "OnError"}, "y": {"type": "acme.shop.core.Buy", "label": "Buy it"}}
    return Recorder(C + "OnError", world=world, flow=flow, **setting).start()


def messages(recorder: Recorder) -> list[str]:
    return [content["msg"] for _, content in recorder.take()]


def test_on_error_sends_each_error_once() -> None:
    recorder = watcher(2)
    recorder.world.log_records[1]["componentId"] = "y"
    recorder.tick()
    assert recorder.sent[0] == (
        "out",
        {
            "gridTimestamp": "2025-04-25T07:00:00.000Z",
            "msg": "error 0",
            "err": "{}",
            "componentId": "x",
            "componentType": "acme.shop.core.Buy",
            "componentLabel": "Buy",
            "flowName": "A flow",
            "inputMessages": {"in": []},
        },
    )
    assert recorder.sent[1][1]["componentLabel"] == "Buy it"
    recorder.take()
    assert messages(recorder.tick()) == []
    recorder.world.log_records.append(record(2))
    assert messages(recorder.tick()) == ["error 2"]
    position = recorder.state.get("position")
    assert (position["lastLogId"], position["gridTimestamp"]) == ("r00002", "2025-04-25T07:00:00.002Z")


def test_on_error_reads_pages_up_to_its_limit() -> None:
    recorder = watcher(250)
    assert len(messages(recorder.tick())) == 250
    recorder = watcher(250, properties={"limit": 120})
    assert messages(recorder.tick())[-1] == "error 119"
    assert messages(recorder.tick())[0] == "error 120"
    recorder = watcher(250, properties={"limit": 120}, config={"limit": 30})
    assert len(messages(recorder.tick())) == 30
    recorder = watcher(1200)
    assert len(messages(recorder.tick())) == 1000


def test_on_error_reads_again_when_the_tick_is_repeated() -> None:
    recorder = watcher(3, properties={"limit": 2})
    recorder.tick(message_id="t1")
    first = messages(recorder)
    recorder.tick(message_id="t1")
    assert messages(recorder) == first == ["error 0", "error 1"]
    assert messages(recorder.tick(message_id="t2")) == ["error 2"]


def test_an_overlapping_tick_fails() -> None:
    recorder = watcher(1)
    recorder.world.locks.add("c1")
    with pytest.raises(LockNotAcquired):
        recorder.tick()


def test_on_error_asks_for_errors_since_its_first_start() -> None:
    recorder = watcher(0)
    recorder.world.advance(60_000)
    recorder.start().tick()
    assert recorder.log_queries == ["severity:error AND gridTimestamp:[2025-04-25T07:38:12.000Z TO *]"]


def test_incoming_content_may_be_bare() -> None:
    assert run(C + "Join", {"in": Incoming("text", "text")}).sent == [("out", "text")]
