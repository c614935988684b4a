from __future__ import annotations

from typing import Any

import orjson
import pytest

from engine.sdk import StepError
from tests.connectors.recorder import Recorder, run

T = "appmixer.utils.test."


def check(*rows: dict[str, Any], label: str | None = "Check it") -> dict[str, Any]:
    ((port, content),) = run(T + "Assert", {"in": {"expression": {"AND": list(rows)}}}, label=label).sent
    assert port == "out"
    assert isinstance(content, dict)
    return content


ROWS: list[tuple[dict[str, Any], int, int]] = [
    ({"assertion": "equal", "field": 100, "expected": "100"}, 1, 0),
    ({"assertion": "equal", "field": True, "expected": "true"}, 1, 0),
    ({"assertion": "equal", "field": "a", "expected": "b"}, 0, 1),
    ({"assertion": "equal", "field": 100, "expected": "100", "type": "number"}, 2, 0),
    ({"assertion": "equal", "field": "100", "expected": "100", "type": "number"}, 1, 1),
    ({"assertion": "notEmpty", "field": ""}, 1, 0),
    ({"assertion": "notEmpty", "field": []}, 1, 0),
    ({"assertion": "notEmpty", "field": None}, 0, 1),
    ({"assertion": "notEmpty"}, 0, 1),
    ({"assertion": "notEmpty", "field": [1], "type": "array"}, 2, 0),
    ({"assertion": "notEmpty", "field": [1], "type": "string"}, 1, 1),
    ({"assertion": "notEmpty", "field": {}, "type": "object"}, 2, 0),
    ({"assertion": "notEmpty", "field": [1], "type": "object"}, 1, 1),
    ({"assertion": "notEmpty", "field": None, "type": "object"}, 0, 2),
    ({"assertion": "notEmpty", "field": True, "type": "number"}, 1, 1),
    ({"assertion": "regex", "field": "order 4711", "regex": "\\d{4}"}, 1, 0),
    ({"assertion": "regex", "field": "order", "regex": "\\d{4}"}, 0, 1),
    ({"assertion": "like", "field": "x"}, 0, 1),
    ({"field": "x"}, 0, 1),
    ({"field": "x", "type": "string"}, 1, 1),
    ({"field": "x", "assertion": "notEmpty", "type": "date"}, 1, 1),
]


@pytest.mark.parametrize(("row", "good", "bad"), ROWS)
def test_rows(row: dict[str, Any], good: int, bad: int) -> None:
    content = check(row)
    assert (len(content["success"]), len(content["error"])) == (good, bad)


def test_all_rows_are_checked_and_the_step_is_named() -> None:
    rows = ({"assertion": "equal", "field": 1, "expected": 2}, {"assertion": "notEmpty", "field": 1})
    assert check(*rows) == {
        "componentId": "c1",
        "componentName": "Check it",
        "success": ["1 is not empty"],
        "error": ["1 does not equal 2"],
    }
    assert "componentName" not in check(*rows, label=None)


def test_no_rows_is_no_error_and_long_values_are_cut() -> None:
    assert check() == {"componentId": "c1", "componentName": "Check it", "success": [], "error": []}
    assert len(check({"assertion": "notEmpty", "field": "x" * 1000})["success"][0]) < 250


@pytest.mark.parametrize("content", [{}, None, {"expression": None}, {"expression": {}}])
def test_without_an_expression_it_fails(content: Any) -> None:
    with pytest.raises(StepError, match="add at least one row"):
        run(T + "Assert", {"in": content})


def test_tick_sends_the_time() -> None:
    assert run(T + "Tick", hook="tick").sent == [("out", {"time": "2025-04-25T07:38:12.000Z"})]


# -- ProcessE2EResults

GOOD = {"componentId": "a", "componentName": "A", "success": ["ok"], "error": []}
BAD = {"componentId": "b", "success": [], "error": ["1 does not equal 2"]}


def process(result: Any, **stores: str) -> Recorder:
    text = result if isinstance(result, str) else orjson.dumps(result).decode()
    properties = stores or {"successStoreId": "good", "failedStoreId": "bad"}
    recorder = Recorder(T + "ProcessE2EResults", properties=properties)
    recorder.world.static["appmixer.utils.email.SendEmail"] = lambda *_: {}
    return recorder.receive({"in": {"recipients": "a@example.com", "testCase": "Case", "result": text}})


def stored(recorder: Recorder) -> dict[str, Any]:
    entries = recorder.world.stores.entries
    return {store: {key: e["value"] for key, e in found.items()} for store, found in entries.items()}


@pytest.mark.parametrize("result", [[GOOD, GOOD], GOOD, {}, {"now": 1, "runId": "r"}, [], [{"error": ["no id"]}], [7]])
def test_a_passed_run_is_stored_without_a_mail(result: Any) -> None:
    recorder = process(result)
    assert stored(recorder) == {"good": {"Case": orjson.dumps(result).decode()}}
    assert recorder.calls == []
    assert recorder.sent == []


@pytest.mark.parametrize("result", [[GOOD, BAD], BAD, {"message": "timed out", "timedOutLinks": ["A:out"]}])
def test_a_failed_run_is_stored_and_mailed(result: Any) -> None:
    recorder = process(result)
    assert stored(recorder) == {"bad": {"Case": orjson.dumps(result).decode()}}
    ((name, port, _, messages),) = recorder.calls
    assert (name, port) == ("appmixer.utils.email.SendEmail", "sent")
    assert messages["in"]["to"] == "a@example.com"
    assert "Case" in messages["in"]["subject"]
    assert "1 does not equal 2" in messages["in"]["text"] or "A:out" in messages["in"]["text"]


def test_both_stores_may_be_the_same() -> None:
    recorder = process([BAD], successStoreId="one", failedStoreId="one")
    assert list(stored(recorder)) == ["one"]
    assert len(recorder.calls) == 1


def test_a_result_that_is_not_json_is_an_error() -> None:
    with pytest.raises(StepError, match="must be JSON text"):
        process("all fine")


def test_a_mail_that_cannot_be_sent_fails_the_message_after_storing() -> None:
    recorder = Recorder(T + "ProcessE2EResults", properties={"successStoreId": "good", "failedStoreId": "bad"})
    fields = {"recipients": "a@example.com", "testCase": "Case", "result": orjson.dumps([BAD]).decode()}
    with pytest.raises(StepError, match="SendEmail"):
        recorder.receive({"in": fields})
    assert "bad" in stored(recorder)
