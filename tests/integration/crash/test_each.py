"""A very long loop: Each over a list of 10 MB, gathered by JoinEach, killed on the way.

Memory stays bounded, time grows with the length, and every item arrives once.
"""

from __future__ import annotations

import threading
import time
import uuid
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.integration.crash.conftest import Killable
from tests.integration.crash.soak_flow import Builder

MEGABYTES = 300

SOURCE = """
from engine.sdk import *

class Source(Component):
    def receive(self, context):
        count = context.messages["in"].content["data"]["count"]
        context.send({"list": [{"n": n, "text": "item number %06d " % n + "x" * 70} for n in range(count)]}, "out")
"""

SUM = """
from engine.sdk import *

class Sum(Component):
    effects = "none"
    def receive(self, context):
        numbers = [item["value"]["n"] for item in context.messages["in"].content["items"]]
        context.send({"text": "%d %d %d" % (len(numbers), len(set(numbers)), sum(numbers))}, "out")
"""


def connector(folder: Path, name: str, code: str) -> None:
    place = folder / "test" / "lab" / "core" / name
    place.mkdir(parents=True)
    manifest = f'{{"name": "test.lab.core.{name}", "inPorts": ["in"], "outPorts": ["out"]}}'
    (place / "component.json").write_text(manifest)
    (place / "component.py").write_text(code)


def loop_flow(store_id: str) -> tuple[dict[str, Any], str]:
    b = Builder()
    hook = b.step("http.WebhookTrigger", {})
    b.flow[hook]["config"] = {"properties": {"immediateResponse": True}}
    source, total = str(uuid.uuid4()), str(uuid.uuid4())
    b.flow[source] = {"type": "test.lab.core.Source", "source": {"in": {hook: ["request"]}}}
    each = b.step("controls.Each", {"list": b.v(f"{source}.out.list")}, (source, "out"))
    join = b.step("controls.JoinEach", {"correlationId": b.v(f"{each}.item.correlationId")}, (each, "item"))
    b.step(
        "controls.JoinEach",
        {
            "count": b.v(f"{each}.done.count"),
            "correlationId": b.v(f"{each}.done.correlationId"),
            "timeout": True,
            "timeoutValue": 36000,
        },
        (each, "done"),
        port="count",
        into=join,
    )
    b.flow[total] = {"type": "test.lab.core.Sum", "source": {"in": {join: ["out"]}}}
    fields = {"storeId": store_id, "key": "sum", "value": b.v(f"{total}.out.text")}
    b.step("storage.Set", fields, (total, "out"))
    return b.flow, hook


class Peak(threading.Thread):
    """Watches the resident set of the serving process."""

    def __init__(self, server: Killable) -> None:
        super().__init__(daemon=True)
        self._server = server
        self.megabytes = 0.0
        self.done = False

    def run(self) -> None:
        while not self.done:
            try:
                assert self._server.process is not None
                for child in psutil.Process(self._server.process.pid).children():
                    self.megabytes = max(self.megabytes, child.memory_info().rss / 1e6)
            except psutil.Error:
                pass
            time.sleep(0.1)


def loop(server: Killable, folder: Path, *, count: int, kills: int, seconds: float) -> float:
    """Returns how long it took, starts included."""
    connector(folder / "connectors", "Source", SOURCE)
    connector(folder / "connectors", "Sum", SUM)
    server.settings["HEADRACE_CONNECTORS"] = str(folder / "connectors")
    server.start()
    store_id = server.call("POST", "/stores", {"name": "sums"})["storeId"]
    flow, hook = loop_flow(store_id)
    flow_id = server.call("POST", "/flows", {"name": "loop", "flow": flow})["flowId"]
    server.call("POST", f"/flows/{flow_id}/coordinator", {"command": "start"})
    peak = Peak(server)
    peak.start()
    began = time.monotonic()
    server.call("POST", f"/flows/{flow_id}/components/{hook}", {"count": count})
    for n in range(kills):
        time.sleep(seconds / 60 + n)
        server.kill()
        server.start()
    while (found := entry(server, store_id)) is None:
        assert time.monotonic() - began < seconds, f"not done after {seconds:g} s"
        time.sleep(0.5)
    took = time.monotonic() - began
    peak.done = True
    print(f"\n{count} items, {kills} kills: {took:.1f} s, peak {peak.megabytes:.0f} MB")  # noqa: T201 - the result
    assert found == f"{count} {count} {count * (count - 1) // 2}"
    assert peak.megabytes < MEGABYTES
    assert server.call("GET", f"/unprocessed-messages?flowId={flow_id}") == []
    return took


def entry(server: Killable, store_id: str) -> str | None:
    page = server.call("GET", f"/store?storeId={store_id}")
    return str(page[0]["value"]) if page else None


def test_a_long_loop_killed_once(killable: Killable, tmp_path: Path) -> None:
    loop(killable, tmp_path, count=3_000, kills=1, seconds=90)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_hundred_thousand_items_killed_twice(killable: Killable, tmp_path: Path) -> None:
    loop(killable, tmp_path, count=100_000, kills=2, seconds=1500)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_quarter_of_it_for_comparison(killable: Killable, tmp_path: Path) -> None:
    loop(killable, tmp_path, count=25_000, kills=0, seconds=500)
