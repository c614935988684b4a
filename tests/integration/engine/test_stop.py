"""A flow stops, or its connector goes: no message is lost, nobody else is held up."""

from __future__ import annotations

import shutil
import sys
from typing import Any

import pytest

from engine.errors import BadRequest, Conflict, Unavailable
from engine.ports import Query
from tests.integration.engine.conftest import Lab, step, until

DOWN = 'def receive(self, context):\n    raise StepError("down", code="503")'
LATER = """
effects = "state"
def receive(self, context):
    if "timeout" in context.messages:
        context.send({"late": True}, "out")
    else:
        context.set_timeout({}, 5000)
"""


def timers(lab: Lab) -> list[dict[str, Any]]:
    return lab.platform.documents.find("timers", Query())


def stage(lab: Lab, flow_id: str) -> str:
    return str((lab.platform.documents.get("flows", flow_id) or {})["stage"])


def test_a_message_that_waits_for_another_try_is_kept_when_its_flow_stops(lab: Lab) -> None:
    lab.component("Down", DOWN)
    lab.open()
    flow = lab.flow({"hook": step("Hook"), "down": step("Down", ("hook", "out"))})
    lab.post(flow, "hook", {"n": 1}, enqueue_only=True)
    until(lambda: timers(lab), "the retry")
    lab.platform.lifecycle.stop(flow)
    (kept,) = lab.unprocessed(flow)
    assert "flow stopped" in kept["err"]
    assert kept["messages"]["in"][0]["content"] == {"n": 1}
    assert timers(lab) == []
    lab.platform.lifecycle.start(flow)
    lab.platform.unprocessed.retry(lab.caller.user_id, kept["messageId"])
    assert lab.errors(flow, "down", 2)


def test_waiting_messages_are_kept_even_if_the_process_dies_right_after(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise Unavailable("killed")

    lab.component("Idle", 'def receive(self, context):\n    context.send({}, "out")')
    lab.options["step_threads"] = 1
    lab.open()
    flow = lab.flow({"hook": step("Hook"), "idle": step("Idle", ("hook", "out"))})
    lab.platform.bus.stop_consuming()
    for n in range(3):
        lab.post(flow, "hook", {"n": n}, enqueue_only=True)
    with monkeypatch.context() as broken:
        broken.setattr(lab.platform.bus, "settle", dies)
        with pytest.raises(Unavailable):
            lab.platform.lifecycle.stop(flow)
    assert len(lab.unprocessed(flow, 3)) == 3
    lab.close()
    lab.open()
    assert stage(lab, flow) == "stopped"
    assert len(lab.unprocessed(flow, 3)) == 3


def test_a_try_that_fails_while_its_flow_stops_is_kept_too(lab: Lab) -> None:
    entered, leave = lab.folder / "entered", lab.folder / "leave"
    lab.component(
        "Gated",
        f"""
        def receive(self, context):
            from pathlib import Path
            Path({str(entered)!r}).touch()
            while not Path({str(leave)!r}).exists():
                time.sleep(0.01)
            raise StepError("down", code="503")
        """,
    )
    lab.open()
    flow = lab.flow({"hook": step("Hook"), "gated": step("Gated", ("hook", "out"))})
    lab.post(flow, "hook", {"n": 1}, enqueue_only=True)
    until(entered.exists, "the step at work")
    lab.platform.lifecycle.stop(flow)
    leave.touch()
    until(lambda: timers(lab), "the retry")
    lab.pass_time(10)
    assert "flow stopped" in lab.unprocessed(flow)[0]["err"]
    assert timers(lab) == []


def test_a_connector_that_is_gone_holds_up_no_other_flow_and_loses_nothing(lab: Lab) -> None:
    lab.component("Down", DOWN)
    lab.component("Later", LATER)
    lab.open()
    broken = lab.flow({"hook": step("Hook"), "down": step("Down", ("hook", "out"))})
    lab.post(broken, "hook", {"n": 1}, enqueue_only=True)
    until(lambda: len(timers(lab)) == 1, "the retry")
    other = lab.flow({"hook": step("Hook"), "later": step("Later", ("hook", "out"))})
    lab.post(other, "hook", {}, enqueue_only=True)
    until(lambda: len(timers(lab)) == 2, "the time-out")
    lab.close()
    shutil.rmtree(lab.folder / "connectors" / "test" / "lab" / "core" / "Down")
    lab.open()
    assert lab.pass_time(10) == 2
    assert lab.outputs(other, "later") == [{"late": True}]
    assert "unknown component test.lab.core.Down" in lab.unprocessed(broken)[0]["err"]
    lab.platform.lifecycle.stop(broken)
    assert stage(lab, broken) == "stopped"


def test_code_that_no_longer_loads_stops_its_own_flow_only(lab: Lab) -> None:
    lab.component("Down", DOWN)
    lab.open()
    flow = lab.flow({"hook": step("Hook"), "down": step("Down", ("hook", "out"))})
    lab.post(flow, "hook", {"n": 1}, enqueue_only=True)
    until(lambda: timers(lab), "the retry")
    lab.close()
    code = lab.folder / "connectors" / "test" / "lab" / "core" / "Down" / "component.py"
    code.write_text("class Down(:\n")
    for name in [name for name in sys.modules if name.endswith(".test.lab.core.Down.component")]:
        del sys.modules[name]
    lab.open()
    assert lab.pass_time(10) == 1
    assert "SyntaxError" in lab.unprocessed(flow)[0]["err"]
    lab.platform.lifecycle.stop(flow)
    with pytest.raises(BadRequest, match="SyntaxError"):
        lab.platform.lifecycle.start(flow)
    assert stage(lab, flow) == "stopped"


def test_a_stop_that_a_fault_cut_short_can_be_repeated_and_is_taken_up_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise Unavailable("headrace.db: the disk is full")

    lab.open()
    flows = [lab.flow({"hook": step("Hook")}) for _ in range(2)]
    with monkeypatch.context() as broken:
        broken.setattr(lab.platform.bus, "remove", full)
        for flow in flows:
            with pytest.raises(Unavailable):
                lab.platform.lifecycle.stop(flow)
        assert lab.platform.lifecycle.resume() == 0
    assert [stage(lab, flow) for flow in flows] == ["stopping", "stopping"]
    with pytest.raises(Conflict):
        lab.platform.lifecycle.start(flows[0])
    lab.platform.lifecycle.stop(flows[0])
    assert lab.platform.lifecycle.resume() == 1
    assert [stage(lab, flow) for flow in flows] == ["stopped", "stopped"]
