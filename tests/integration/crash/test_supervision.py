"""The supervisor starts the serving process again, however it ended."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from tests.integration.crash.conftest import Killable

EXITS = """
import os
from engine.sdk import *

class Exits(Component):
    effects = "external"
    def receive(self, context):
        if not os.path.exists(context.properties["mark"]):
            open(context.properties["mark"], "w").close()
            os._exit(context.properties["status"])
        context.send({}, "out")
"""


@pytest.mark.parametrize("status", [0, 3, 4, 9])
def test_a_process_ended_by_a_connector_comes_back(killable: Killable, tmp_path: Path, status: int) -> None:
    place = tmp_path / "connectors" / "test" / "lab" / "core" / "Exits"
    place.mkdir(parents=True)
    (place / "component.json").write_text('{"name": "test.lab.core.Exits", "inPorts": ["in"], "outPorts": ["out"]}')
    (place / "component.py").write_text(EXITS)
    killable.settings["HEADRACE_CONNECTORS"] = str(tmp_path / "connectors")
    killable.start()
    flow = {
        "11111111-1111-4111-8111-111111111111": {
            "type": "test.lab.core.Exits",
            "source": {},
            "config": {"properties": {"mark": str(tmp_path / "mark"), "status": status}},
        }
    }
    flow_id = killable.call("POST", "/flows", {"name": "exits", "flow": flow})["flowId"]
    killable.call("POST", f"/flows/{flow_id}/coordinator", {"command": "start"})
    assert killable.process is not None
    served_by = psutil.Process(killable.process.pid).children()[-1].pid
    body = {"componentId": "11111111-1111-4111-8111-111111111111", "inputPort": "in", "content": {}}
    killable.call("POST", f"/flows/{flow_id}", body)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not _served_by_another(killable, served_by):
        time.sleep(0.05)
    assert killable.process.poll() is None
    records = killable.log_records(flow_id)
    while time.monotonic() < deadline and not [r for r in records if r.get("portType") == "out"]:
        time.sleep(0.1)
        records = killable.log_records(flow_id)
    assert [r["msg"] for r in records if r.get("portType") == "out"] == ["{}"]


def _served_by_another(killable: Killable, pid: int) -> bool:
    assert killable.process is not None
    children = psutil.Process(killable.process.pid).children()
    if not children or children[-1].pid == pid:
        return False
    try:
        return killable.http.request("GET", f"{killable.url}/health", timeout=1).status == 200
    except Exception:  # noqa: BLE001 - not up yet
        return False
