"""How docs/connectors.md says components are tested."""

from __future__ import annotations

from tests.connectors.recorder import Recorder, run


def test_a_condition_sends_on_by_true() -> None:
    row = {"input": 12, "operator": ">=", "value": 10}
    recorder = run("appmixer.utils.controls.Condition", {"in": {"expression": {"AND": [{"OR": [row]}]}}})
    assert recorder.sent == [("true", {})]


def test_a_wait_goes_on_when_its_time_has_come() -> None:
    wait = Recorder("appmixer.utils.timers.Wait")
    wait.receive({"in": {"interval": "5m"}})
    wait.world.advance(299_000)
    assert wait.sent == []
    wait.world.advance(1_000)
    assert wait.sent == [("out", {"interval": "5m"})]
