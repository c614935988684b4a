"""Who answers a webhook call, and when it is known that nobody will."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from tests.integration.engine.conftest import Lab, step, until


class Slow(Future[None]):
    """A settlement whose waiting thread gets its turn late."""

    def __init__(self, settled: Future[None], wait: Any) -> None:
        super().__init__()
        self._settled = settled
        self._wait = wait

    def add_done_callback(self, fn: Any) -> None:
        self._settled.add_done_callback(fn)

    def result(self, timeout: float | None = None) -> None:
        self._settled.result(timeout)
        self._wait()


def test_a_branch_that_ends_at_once_does_not_answer_for_the_others(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    leave = lab.folder / "leave"
    lab.component("Quick", "def receive(self, context):\n    pass")
    lab.component(
        "Late",
        f"""
        def receive(self, context):
            from pathlib import Path
            while not Path({str(leave)!r}).exists():
                time.sleep(0.01)
            context.send({{"from": "late"}}, "out")
        """,
    )
    lab.options["webhook_timeout"] = 10.0
    lab.open()
    flow = lab.flow(
        {
            "hook": step("appmixer.utils.http.WebhookTrigger", properties={"immediateResponse": False}),
            "quick": step("Quick", ("hook", "request")),
            "late": step("Late", ("hook", "request")),
            "answer": step("Answer", ("late", "out")),
        }
    )
    bus = lab.platform.bus
    settle = bus.settle

    def quick_is_over() -> None:
        until(lambda: bus.depth(flow) == 1, "the end of the quick branch")
        leave.touch()

    def settled(delivery: Any, settlement: Any) -> Future[None]:
        done = settle(delivery, settlement)
        return done if delivery is not None else Slow(done, quick_is_over)

    monkeypatch.setattr(bus, "settle", settled)
    reply = lab.post(flow, "hook", {})
    assert (reply.status, reply.body) == (201, {"from": "late"})
