"""What is on its way to the run log when its flow is deleted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from engine.model.execution import ExecutionQuery
from engine.model.log import LogQuery
from tests.integration.engine.conftest import Lab, until

Make = Callable[..., dict[str, Any]]


def records(lab: Lab, flow: str) -> int:
    index = lab.platform.log_index
    found = index.search(LogQuery("", flow_ids=(flow,), size=1000)).hits
    return len(found) + len(index.executions(ExecutionQuery(flow_ids=(flow,))))


def made(lab: Lab, make: Make) -> tuple[str, str]:
    """Two flows, one to be deleted."""
    flows = []
    for _ in range(2):
        flows.append(lab.flow({"hook": make("Hook"), "echo": make("Echo", ("hook", "out"))}))
        lab.post(flows[-1], "hook", {"n": 1})
    return flows[0], flows[1]


def test_queued_records_of_a_deleted_flow_are_dropped(lab: Lab, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.open()
    held, append = threading.Event(), lab.platform.log_index.append

    def when_let(given: Any) -> None:
        held.wait(30)
        append(given)

    monkeypatch.setattr(lab.platform.log_index, "append", when_let)
    first = lab.flow({"hook": make("Hook")})
    lab.post(first, "hook", {})  # keeps the indexer busy while the others queue up
    gone, other = made(lab, make)
    lab.platform.flows.delete(gone, lab.caller)
    lab.platform.flows.delete(first, lab.caller)
    held.set()
    until(lambda: records(lab, other) >= 3, "the records of the other flow")
    until(lambda: records(lab, gone) == records(lab, first) == 0, "the end of what was being appended")
    lab.workers._indexer.stop(10)
    assert records(lab, gone) == records(lab, first) == 0


def test_a_restart_does_not_bring_them_back(lab: Lab, make: Make) -> None:
    lab.open()
    lab.workers._indexer.stop(10)
    gone, other = made(lab, make)
    lab.platform.flows.delete(gone, lab.caller)
    lab.close()
    lab.open()
    until(lambda: records(lab, other) >= 3, "the records of the other flow")
    assert records(lab, gone) == 0


def test_a_flow_made_again_under_the_same_id_has_a_log(lab: Lab, make: Make) -> None:
    lab.open()
    gone, _ = made(lab, make)
    record = lab.platform.documents.get("flows", gone)
    assert record is not None
    hook = next(cid for cid, each in record["flow"].items() if each["label"] == "Hook")
    lab.platform.flows.delete(gone, lab.caller)
    lab.platform.flows.save(gone, {"name": "again", "flow": record["flow"]}, lab.caller)
    lab.platform.lifecycle.start(gone)
    lab.ids["hook"] = hook
    lab.post(gone, "hook", {"n": 1})
    until(lambda: records(lab, gone) >= 3, "its records")


def test_deleted_flows_are_forgotten_after_a_while(lab: Lab, make: Make) -> None:
    lab.open()
    gone, _ = made(lab, make)
    lab.platform.flows.delete(gone, lab.caller)
    assert lab.platform.documents.count("deleted_flows") == 1
    lab.clock.ms += 8 * 86_400_000
    lab.close()
    lab.open()
    assert lab.platform.documents.count("deleted_flows") == 0
