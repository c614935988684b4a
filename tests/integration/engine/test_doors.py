"""Only components that say so can be called from outside (engine.md §2 "webhook")."""

from __future__ import annotations

import pytest

from engine.errors import NotFound
from tests.integration.engine.conftest import Lab, step


def test_a_step_without_a_webhook_cannot_be_run_by_strangers(lab: Lab) -> None:
    lab.open()
    counter = step(
        "appmixer.utils.controls.Counter",
        ("hook", "out"),
        port="item",
        properties={"count": 0, "increment": 1},
    )
    flow = lab.flow({"hook": step("Hook"), "counter": counter})
    with pytest.raises(NotFound, match="takes no webhook calls"):
        lab.post(flow, "counter", {})
    lab.post(flow, "hook", {})
    assert lab.outputs(flow, "counter") == [{"count": 1}]
