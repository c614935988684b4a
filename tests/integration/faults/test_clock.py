"""The clock is set back an hour while timers are waiting: none fires twice, none is left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import wiring
from engine.adapters.clock import SystemClock
from engine.settings import Settings
from tests.integration.engine.conftest import Lab, step, until

SECOND = 1_000_000_000
HOUR = 3600 * SECOND


class Machine:
    """A machine whose clock the test sets."""

    def __init__(self) -> None:
        self.wall = 1_790_000_000 * SECOND
        self.steady = 0

    def passes(self, seconds: float) -> None:
        self.wall += round(seconds * SECOND)
        self.steady += round(seconds * SECOND)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Lab, Machine]]:
    """An engine on `SystemClock`, over a machine's clock of the test's own; ticks every 10 s."""
    machine = Machine()
    clock = SystemClock(lambda: machine.wall, lambda: machine.steady)
    build = wiring.build

    def with_clock(settings: Settings, **_: Any) -> wiring.Platform:
        return build(settings, clock=clock)

    monkeypatch.setattr(wiring, "build", with_clock)
    made = Lab(tmp_path, options={"polling_interval": 10.0})
    made.component(
        "Ticker",
        'def tick(self, context):\n    context.send({"at": context.now().isoformat()}, "out")',
        inPorts=[],
        tick=True,
    )
    made.component(
        "Later",
        """
        effects = "state"
        def receive(self, context):
            if context.messages.get("timeout"):
                context.send(context.messages["timeout"].content, "out")
            else:
                content = context.messages["webhook"].content["data"]
                context.set_timeout(content, content["after"] * 1000)
        """,
        inPorts=[],
        webhook=True,
    )
    yield made, machine
    made.close()


def seconds(lab: Lab, machine: Machine, count: int) -> None:
    for _ in range(count):
        machine.passes(1)
        lab.platform.timers.fire_due()
        lab.idle()


@pytest.mark.parametrize("pause", [0, 30], ids=["before they are due", "between them"])
def test_an_hour_back(lab: tuple[Lab, Machine], pause: int) -> None:
    engine, machine = lab
    engine.open()
    flow = engine.flow({"ticker": step("Ticker"), "later": step("Later")})
    for after in (20, 40, 60):
        engine.post(flow, "later", {"after": after}, enqueue_only=True)
    until(lambda: engine.platform.documents.count("timers") == 4, "three time-outs and a tick")
    seconds(engine, machine, pause)
    machine.wall -= HOUR
    seconds(engine, machine, 90 - pause)
    fired = engine.outputs(flow, "later", 3)
    assert sorted(content["after"] for content in fired) == [20, 40, 60]
    ticks = [content["at"] for content in engine.outputs(flow, "ticker", 8)]
    assert 8 <= len(ticks) <= 10
    assert ticks == sorted(set(ticks))
    seconds(engine, machine, 60)
    assert len(engine.outputs(flow, "later", 3)) == 3
