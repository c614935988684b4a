from __future__ import annotations

from typing import Any

import pytest

from engine.sdk import CancelError
from tests.connectors.recorder import Recorder, run

TYPE = "appmixer.utils.controls.Digest"
MINUTE = 60_000


def digest(**properties: Any) -> Recorder:
    recorder = Recorder(TYPE, properties=properties)
    return recorder.start()


def feed(recorder: Recorder, *entries: Any) -> Recorder:
    for entry in entries:
        recorder.receive({"in": {"entry": entry}})
    return recorder


def test_a_threshold_sends_all_and_begins_again() -> None:
    recorder = feed(digest(threshold=2), "a", {"b": 1}, "c")
    assert recorder.take() == [("out", {"entries": ["a", {"b": 1}], "count": 2})]
    assert feed(recorder, "d").sent == [("out", {"entries": ["c", "d"], "count": 2})]
    assert recorder.world.timers == {}


def test_an_entry_may_be_missing() -> None:
    recorder = digest(threshold=1)
    assert recorder.receive({"in": {}}).sent == [("out", {"entries": [None], "count": 1})]


def test_a_schedule_drains_what_there_is() -> None:
    recorder = feed(digest(minute="*/10"), 1, 2)
    recorder.world.advance(MINUTE)  # 07:39
    assert recorder.sent == []
    recorder.world.advance(MINUTE)  # 07:40
    assert recorder.take() == [("out", {"entries": [1, 2], "count": 2})]
    recorder.world.advance(10 * MINUTE)
    assert recorder.sent == []
    feed(recorder, 3).world.advance(10 * MINUTE)
    assert recorder.sent == [("out", {"entries": [3], "count": 1})]


@pytest.mark.parametrize("field", ["minute", "hour", "dayMonth", "dayWeek"])
def test_any_of_four_fields_makes_a_schedule(field: str) -> None:
    recorder = digest(**{field: "1"})
    assert len(recorder.world.timers) == 1


def test_an_empty_minute_is_the_full_hour() -> None:
    recorder = feed(digest(hour="9"), "x")
    recorder.world.advance(81 * MINUTE)  # 08:59:12
    assert recorder.sent == []
    recorder.world.advance(MINUTE)
    assert recorder.sent == [("out", {"entries": ["x"], "count": 1})]


def test_a_schedule_with_a_threshold_waits_for_both() -> None:
    recorder = feed(digest(minute="*", threshold=2), 1)
    recorder.world.advance(5 * MINUTE)
    assert recorder.sent == []
    feed(recorder, 2, 3)
    assert recorder.sent == []
    recorder.world.advance(MINUTE)
    assert recorder.sent == [("out", {"entries": [1, 2, 3], "count": 3})]


def test_a_call_drains_always_and_is_answered_with_nothing() -> None:
    recorder = feed(digest(threshold=5), 1)
    recorder.receive({"webhook": {"method": "POST", "data": {}}})
    assert recorder.take() == [("out", {"entries": [1], "count": 1})]
    assert recorder.response == (None, 200, {})
    recorder.receive({"webhook": {"method": "POST", "data": {}}})
    assert recorder.sent == [("out", {"entries": [], "count": 0})]


@pytest.mark.parametrize("output_type", ["object", "first", "file"])
def test_a_call_with_nothing_collected_sends_nothing_but_an_empty_array(output_type: str) -> None:
    recorder = digest(outputType=output_type)
    assert recorder.receive({"webhook": {}}).sent == []
    assert recorder.response is not None


def test_one_message_for_each_entry() -> None:
    recorder = feed(digest(threshold=2, outputType="object"), "a", "b")
    assert recorder.sent == [
        ("out", {"entry": "a", "index": 0, "count": 2}),
        ("out", {"entry": "b", "index": 1, "count": 2}),
    ]


def test_only_the_first_entry() -> None:
    recorder = feed(digest(threshold=2, outputType="first"), "a", "b")
    assert recorder.sent == [("out", {"entry": "a", "index": 0, "count": 2})]
    assert feed(recorder, "c").sent == [("out", {"entry": "a", "index": 0, "count": 2})]


def test_a_file_has_the_keys_of_the_first_entry_and_quotes_every_value() -> None:
    recorder = feed(
        digest(threshold=3, outputType="file"),
        {"name": "Ann", "n": 1},
        {"n": 2, "name": 'the "best"', "extra": 0},
        {"name": {"deep": [1]}},
    )
    ((_, content),) = recorder.sent
    assert content["count"] == 3
    assert recorder.load_file(content["fileId"]).decode() == (
        'name,n\n"Ann","1"\n"the ""best""","2"\n"{""deep"":[1]}",""'
    )
    assert recorder.file_info(content["fileId"]).filename.endswith(".csv")


def test_a_file_of_plain_values_has_one_column() -> None:
    recorder = feed(digest(threshold=2, outputType="file"), "a", 2)
    assert recorder.load_file(recorder.sent[0][1]["fileId"]) == b'entry\n"a"\n"2"'


def test_a_bad_zone_stops_the_start() -> None:
    with pytest.raises(CancelError, match="Mars"):
        digest(minute="1", timezone="Mars/Olympus")


def test_a_redelivered_drain_sends_the_same() -> None:
    recorder = feed(digest(threshold=2), 1)
    recorder.receive({"in": {"entry": 2}}, message_id="m")
    recorder.receive({"in": {"entry": 2}}, message_id="m")
    assert recorder.sent == [("out", {"entries": [1, 2], "count": 2})] * 2
    assert feed(recorder, 3).sent == recorder.sent[:2]


def test_a_time_out_of_an_earlier_run_is_ignored() -> None:
    recorder = feed(digest(minute="*"), 1)
    (timer,) = recorder.world.timers.values()
    recorder.state.clear()
    recorder.deliver_timeout(timer)
    assert recorder.sent == []


@pytest.mark.parametrize(
    ("output_type", "values"),
    [
        (None, ["entries", "count"]),
        ("array", ["entries", "count"]),
        ("object", ["entry", "index", "count"]),
        ("first", ["entry", "index", "count"]),
        ("file", ["fileId", "count"]),
    ],
)
def test_options_follow_the_kind_of_output(output_type: str | None, values: list[str]) -> None:
    recorder = run(TYPE, properties={"generateOutputPortOptions": True, "outputType": output_type})
    assert [option["value"] for option in recorder.sent[0][1]] == values


def test_the_address_is_told() -> None:
    ((_, content),) = run(TYPE, properties={"getWebhookUrl": True}).sent
    url = "https://headrace.test/flows/flow-1/components/c1"
    assert content == [{"label": url, "value": url}]
