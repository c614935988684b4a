"""`context.heavy` of a connector in a folder of its own: the work is killed, the engine goes on."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from tests.integration.engine.conftest import Lab

WORK = """
import os
import time

def measure(text):
    return {"length": len(text), "pid": os.getpid()}

def forever(_payload):
    time.sleep(60)

def crash(_payload):
    os.abort()
"""


def heavy_flow(lab: Lab, make: Callable[..., dict[str, Any]]) -> str:
    lab.module_file("core/Heavy/work.py", WORK)
    lab.component(
        "Heavy",
        """
        def receive(self, context):
            from . import work
            wanted = context.messages["in"].content
            function = getattr(work, wanted["do"])
            context.send(context.heavy(function, wanted.get("with"), seconds=wanted.get("seconds", 20)), "out")
        """,
    )
    lab.open()
    return lab.flow({"hook": make("Hook"), "heavy": make("Heavy", ("hook", "out"))})


def test_a_function_of_the_connector_runs_in_another_process(lab: Lab, make: Callable[..., dict[str, Any]]) -> None:
    flow_id = heavy_flow(lab, make)
    lab.post(flow_id, "hook", {"do": "measure", "with": "four"})
    [result] = lab.outputs(flow_id, "heavy")
    assert result["length"] == 4
    assert result["pid"] != os.getpid()


def test_work_that_hangs_or_crashes_fails_its_message_only(lab: Lab, make: Callable[..., dict[str, Any]]) -> None:
    flow_id = heavy_flow(lab, make)
    lab.post(flow_id, "hook", {"do": "forever", "seconds": 0.2})
    lab.post(flow_id, "hook", {"do": "crash"})
    lab.post(flow_id, "hook", {"do": "measure", "with": "four"})
    reasons = {doc["err"] for doc in lab.unprocessed(flow_id, 2)}
    assert any("longer than 0.2 seconds" in reason for reason in reasons)
    assert any("SIGABRT" in reason for reason in reasons)
    assert lab.outputs(flow_id, "heavy")[0]["length"] == 4
