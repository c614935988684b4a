"""A message that kills its process takes no other with it (design.md §4 "Poison").

The short form runs in `make test`, the one with thirty kills in `make soak`.
"""

from __future__ import annotations

import random
import textwrap
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest
import urllib3

from tests.integration.crash.conftest import Killable
from tests.integration.crash.test_kill import keys, wait_until_quiet

WORK = """
import ctypes
import os
from engine.sdk import Component

class Work(Component):
    def receive(self, context):
        content = context.messages["in"].content["data"]
        if content.get("die"):
            with open(content["told"], "a") as file:
                file.write("dying\\n")
        if content.get("die") == "exit":
            os._exit(1)
        if content.get("die") == "segv":
            ctypes.string_at(0)
        context.send({"id": content["id"]}, "out")

class Inner(Work):
    effects = "none"
"""
LIMIT = 60.0


def connector(folder: Path, name: str) -> None:
    place = folder / "acme" / "poison" / "core" / name
    place.mkdir(parents=True)
    manifest = {"name": f"acme.poison.core.{name}", "inPorts": ["in"], "outPorts": ["out"]}
    place.joinpath("component.json").write_bytes(orjson.dumps(manifest))
    place.joinpath("component.py").write_text(textwrap.dedent(WORK))


def flow_of(component: str, store_id: str) -> tuple[dict[str, Any], str]:
    """Webhook → the component → keep in the store under the delivery's id."""
    hook, work, keep, order = (str(uuid.uuid4()) for _ in range(4))

    def step(type: str, sender: str, out: str, fields: dict[str, Any], modifiers: dict[str, Any]) -> dict[str, Any]:
        transform = {"in": {sender: {out: {"type": "json2new", "lambda": fields, "modifiers": modifiers}}}}
        return {"type": type, "source": {"in": {sender: [out]}}, "config": {"transform": transform}}

    flow = {
        hook: {
            "type": "appmixer.utils.http.WebhookTrigger", "source": {},
            "config": {"properties": {"immediateResponse": True}},
        },
        work: step(f"acme.poison.core.{component}", hook, "request", {}, {}),
        keep: step(
            "appmixer.utils.storage.Set", work, "out",
            {"storeId": store_id, "key": f"{{{{{{{order}}}}}}}", "value": "done"},
            {"key": {order: {"variable": f"$.{work}.out.id", "functions": []}}},
        ),
    }  # fmt: skip
    return flow, hook


class Sender:
    """Sends deliveries until they are accepted, all of them within `seconds`."""

    def __init__(self, server: Killable, path: str, seconds: float) -> None:
        self._server = server
        self._path = path
        self._deadline = time.monotonic() + seconds

    def __call__(self, content: dict[str, Any]) -> None:
        while time.monotonic() < self._deadline:
            try:
                status = self._post(content)
            except urllib3.exceptions.HTTPError:
                status = 503  # it has just died
            if status == 202:
                return
            assert status == 503, status
            time.sleep(0.05)
        raise AssertionError(f"{content} was not accepted in time")

    def once(self, content: dict[str, Any]) -> None:
        """It may kill the server before the answer is out."""
        try:
            assert self._post(content) == 202
        except urllib3.exceptions.ProtocolError:
            pass

    def _post(self, content: dict[str, Any]) -> int:
        headers = {"Content-Type": "application/json"}
        url = f"{self._server.url}{self._path}?enqueueOnly=true"
        return self._server.http.request("POST", url, body=orjson.dumps(content), headers=headers, timeout=15).status


def poison_among_good(server: Killable, component: str, how: str, *, good: int, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    connectors = server.folder / "connectors"
    connector(connectors, component)
    server.settings["HEADRACE_CONNECTORS"] = str(connectors)
    server.start()
    store_id = server.call("POST", "/stores", {"name": "orders"})["storeId"]
    flow, hook = flow_of(component, store_id)
    flow_id = server.call("POST", "/flows", {"name": "poison", "flow": flow})["flowId"]
    server.call("POST", f"/flows/{flow_id}/coordinator", {"command": "start"})
    send = Sender(server, f"/flows/{flow_id}/components/{hook}", LIMIT + 5 * kills)
    told = server.folder / "deaths"
    stops = sorted(chance.sample(range(good), kills))
    with ThreadPoolExecutor(16) as pool:
        sent = []
        for n in range(good):
            sent.append(pool.submit(send, {"id": f"d{n}"}))
            if n == good // 5:
                send.once({"id": "poison", "die": how, "told": str(told)})
            if n in stops:
                time.sleep(chance.random() * 0.5)
                server.kill()
                server.start()
        for one in sent:
            one.result()
    unprocessed = wait_for_unprocessed(server, flow_id)
    wait_until_quiet(server, store_id)
    deaths = len(told.read_text().splitlines())
    print(f"\nseed {seed}: {kills} kills, {deaths} deaths of the poison's process")  # noqa: T201 - the result
    assert sorted(keys(server, store_id)) == sorted(f"d{n}" for n in range(good))
    assert [orjson.loads(m["err"])["message"] for m in unprocessed] == ["killed its process 3 times"]
    assert deaths <= 4 + kills
    [message] = next(iter(unprocessed[0]["messages"].values()))
    assert message["content"]["data"]["id"] == "poison"


def wait_for_unprocessed(server: Killable, flow_id: str) -> list[dict[str, Any]]:
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        try:
            if found := server.call("GET", f"/unprocessed-messages?flowId={flow_id}"):
                return list(found)
        except urllib3.exceptions.HTTPError:
            pass  # it has just died once more
        time.sleep(0.1)
    raise AssertionError((server.folder / "server.log").read_text()[-5000:])


@pytest.mark.parametrize(("component", "how"), [("Work", "exit"), ("Inner", "segv")])
def test_one_poison_message_among_good_ones(killable: Killable, component: str, how: str) -> None:
    poison_among_good(killable, component, how, good=500, kills=1, seed=20_261_124)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", ["exit", "segv"])
def test_one_poison_message_and_thirty_kills(killable: Killable, how: str) -> None:
    seed = random.SystemRandom().randrange(10**6)
    poison_among_good(killable, "Work", how, good=500, kills=30, seed=seed)
