"""Start and stop hooks that hang, and flows that change while they are being started."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from engine.errors import BadRequest
from tests.integration.engine.conftest import Lab, step, until

Make = Callable[..., dict[str, Any]]

HANGS = """
def {hook}(self, context):
    from pathlib import Path
    while not Path({leave!r}).exists():
        time.sleep(0.01)
    context.send({{}}, "out")
    context.state.set("ended", True)
"""
STOPS = """
def start(self, context):
    pass
def stop(self, context):
    context.service_state.inc("stops")
"""


def hanging(lab: Lab, hook: str) -> Callable[[], None]:
    leave = lab.folder / "leave"
    lab.component("Hangs", HANGS.format(hook=hook, leave=str(leave)), inPorts=[])
    lab.component("Stops", STOPS, inPorts=[])
    lab.open(before=lambda platform: setattr(platform.lifecycle, "hook_seconds", 0.2))
    return leave.touch


def stops(lab: Lab) -> Any:
    return lab.platform.state.get("service:test.lab", "stops")


def test_a_start_hook_over_its_limit_fails_the_start(lab: Lab, make: Make) -> None:
    leave = hanging(lab, "start")
    flow = lab.flow({"stops": make("Stops"), "hangs": make("Hangs")}, start=False)
    with pytest.raises(BadRequest, match=r"start hook of Hangs.*0\.2 seconds") as failed:
        lab.platform.lifecycle.start(flow)
    assert failed.value.code == "START_FAILED"
    record = lab.platform.documents.get("flows", flow)
    assert record is not None
    assert record["stage"] == "stopped"
    assert stops(lab) == 1
    leave()
    owner = f"component:{flow}:{lab.ids['hangs']}"
    until(lambda: lab.platform.state.get(owner, "ended"), "the late end of the hook")
    assert lab.platform.bus.depth(flow) == 0  # what it sent is discarded


def test_a_stop_hook_over_its_limit_does_not_hold_up_the_stop(lab: Lab, make: Make) -> None:
    leave = hanging(lab, "stop")
    flow = lab.flow({"hangs": make("Hangs"), "stops": make("Stops")})
    lab.platform.lifecycle.stop(flow)
    record = lab.platform.documents.get("flows", flow)
    assert record is not None
    assert record["stage"] == "stopped"
    assert stops(lab) == 1
    until(lambda: any("0.2 seconds" in hit["msg"] for hit in lab.log(flow)), "a record of it")
    leave()


@pytest.mark.parametrize("misdeed", ["raise SystemExit(3)", "raise KeyboardInterrupt"])
def test_a_start_hook_cannot_end_the_thread_that_calls_it(lab: Lab, make: Make, misdeed: str) -> None:
    lab.component("Exits", f"def start(self, context):\n    {misdeed}", inPorts=[])
    lab.open()
    flow = lab.flow({"exits": make("Exits")}, start=False)
    with pytest.raises(BadRequest, match="did not start"):
        lab.platform.lifecycle.start(flow)


def test_a_flow_that_changes_between_the_check_and_the_claim_is_checked_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.open()
    flow = lab.flow({"hook": step("Hook")}, start=False)
    lifecycle = lab.platform.lifecycle
    checked, refuse = threading.Event(), lifecycle._refuse_unready

    def saved_right_after(record: dict[str, Any]) -> None:
        refuse(record)
        if not checked.is_set():
            checked.set()
            lab.platform.flows.save(flow, {"flow": {"x": {"type": "no.such.core.Component"}}}, lab.caller)

    monkeypatch.setattr(type(lifecycle), "_refuse_unready", lambda _, record: saved_right_after(record))
    with pytest.raises(BadRequest) as refused:
        lifecycle.start(flow)
    assert refused.value.code == "FLOW_INVALID"
    assert refused.value.details
    record = lab.platform.documents.get("flows", flow)
    assert record is not None
    assert record["stage"] == "stopped"
    monkeypatch.undo()
    lab.platform.flows.save(flow, {"flow": {"hook": {"type": "test.lab.core.Hook"}}}, lab.caller)
    lifecycle.start(flow)
