"""kill -9 of the server under load: every accepted delivery runs, no log record is doubled.

The short form runs in `make test`; `make soak` runs the long one (issue: ten kills, 5,000 deliveries at 200/s).
"""

from __future__ import annotations

import random
import time
import uuid
from collections import Counter
from typing import Any

import pytest

from tests.integration.crash.conftest import Counting, Killable, Load

RATE = 200.0


def order_flow(store_id: str, port: int) -> tuple[dict[str, Any], str]:
    """Webhook → set variables → POST to the counting server → keep in the store under the delivery's id."""
    hook, variables, post, keep = (str(uuid.uuid4()) for _ in range(4))
    u, q, order = (str(uuid.uuid4()) for _ in range(3))

    def linked(type: str, sender: str, out: str, lambda_: dict[str, Any], modifiers: dict[str, Any]) -> dict[str, Any]:
        mapping = {"type": "json2new", "lambda": lambda_, "modifiers": modifiers}
        transform = {"in": {sender: {out: mapping}}}
        return {"type": type, "source": {"in": {sender: [out]}}, "config": {"transform": transform}}

    id_of = {"variable": f"$.{hook}.request.data.id", "functions": []}
    rows = [
        {"name": "uuid", "type": "text", "text": f"{{{{{{{u}}}}}}}"},
        {"name": "id", "type": "text", "text": f"{{{{{{{q}}}}}}}"},
    ]
    flow = {
        hook: {
            "type": "appmixer.utils.http.WebhookTrigger", "source": {},
            "config": {"properties": {"immediateResponse": True}},
        },
        variables: linked(
            "appmixer.utils.controls.SetVariable", hook, "request", {"variables": {"ADD": rows}},
            {"variables": {u: {"functions": [{"name": "g_uuid4"}]}, q: id_of}},
        ),
        post: linked(
            "appmixer.utils.http.Post", variables, "out",
            {"url": f"http://127.0.0.1:{port}/", "bodyType": "raw", "body": f'{{"id": "{{{{{{{order}}}}}}}"}}'},
            {"body": {order: id_of}},
        ),
        keep: linked(
            "appmixer.utils.storage.Set", post, "response",
            {"storeId": store_id, "key": f"{{{{{{{order}}}}}}}", "value": f"{{{{{{{u}}}}}}}"},
            {"key": {order: id_of}, "value": {u: {"variable": f"$.{variables}.out.uuid", "functions": []}}},
        ),
    }  # fmt: skip
    return flow, hook


def kill_under_load(server: Killable, counting: Counting, seed: int, kills: int, deliveries: int) -> None:
    chance = random.Random(seed)
    server.start()
    store_id = server.call("POST", "/stores", {"name": "orders"})["storeId"]
    flow, hook = order_flow(store_id, counting.port)
    flow_id = server.call("POST", "/flows", {"name": "orders", "flow": flow})["flowId"]
    server.call("POST", f"/flows/{flow_id}/coordinator", {"command": "start"})
    load = Load(f"/flows/{flow_id}/components/{hook}", server)
    load.run(deliveries, RATE, chance.sample(range(deliveries // 20, deliveries), kills), chance)
    wait_until_quiet(server, store_id)

    stored = set(keys(server, store_id))
    repeated = {key: n for key, n in counting.counts.items() if n > 1}
    log = server.log_records(flow_id)
    # a step that was tried again has an input record for each try, but one output
    records = Counter((r["correlationId"], r["componentId"], r["port"]) for r in log if r.get("portType") == "out")
    print(  # noqa: T201 - the figures of the run are its result
        f"\nseed {seed}: {len(load.accepted)} accepted, {load.refused} refused, {len(stored)} stored, "
        f"{kills} kills, {sum(n - 1 for n in repeated.values())} posts repeated, {len(log)} log records"
    )
    assert set(load.accepted) <= stored, f"lost: {sorted(set(load.accepted) - stored)[:10]}"
    assert [key for key, n in records.items() if n > 1] == []
    assert max(Counter(r["_id"] for r in log).values()) == 1
    assert server.call("GET", f"/unprocessed-messages?flowId={flow_id}") == []
    begun = {r["correlationId"] for r in log if r.get("correlationId")}
    assert server.executions(flow_id) == {"succeeded": len(begun)}
    (longest,) = server.call("GET", f"/executions?flowId={flow_id}&sort=steps:-1&limit=1")
    assert longest["steps"] - longest["errors"] == len(flow)


def keys(server: Killable, store_id: str) -> list[str]:
    found: list[str] = []
    while True:
        page = server.call("GET", f"/store?storeId={store_id}&limit=1000&offset={len(found)}&sort=key:1")
        found += [entry["key"] for entry in page]
        if len(page) < 1000:
            return found


def wait_until_quiet(server: Killable, store_id: str) -> None:
    """No message waits, and the number of stored orders has stopped growing."""
    deadline = time.monotonic() + 60
    before = -1
    while time.monotonic() < deadline:
        text = server.http.request("GET", f"{server.url}/metrics", timeout=10).data.decode()
        waiting = next(float(x.split()[1]) for x in text.splitlines() if x.startswith("headrace_queue_messages "))
        count = server.call("GET", f"/store/count?storeId={store_id}")["count"]
        if waiting == 0 and count == before:
            return
        before = count
        time.sleep(0.7)
    raise AssertionError("the server did not come to rest within a minute")


def test_two_kills_lose_nothing(killable: Killable, counting: Counting) -> None:
    kill_under_load(killable, counting, seed=20_261_124, kills=2, deliveries=800)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_ten_kills_lose_nothing(killable: Killable, counting: Counting) -> None:
    kill_under_load(killable, counting, seed=random.SystemRandom().randrange(10**6), kills=10, deliveries=5_000)


def test_a_terminated_server_drains_and_exits_cleanly(killable: Killable, counting: Counting) -> None:
    killable.start()
    store_id = killable.call("POST", "/stores", {"name": "orders"})["storeId"]
    flow, hook = order_flow(store_id, counting.port)
    flow_id = killable.call("POST", "/flows", {"name": "orders", "flow": flow})["flowId"]
    killable.call("POST", f"/flows/{flow_id}/coordinator", {"command": "start"})
    load = Load(f"/flows/{flow_id}/components/{hook}", killable)
    load.run(100, RATE, [], random.Random(1))
    assert killable.stop() == 0
    killable.start()
    wait_until_quiet(killable, store_id)
    assert set(load.accepted) <= set(keys(killable, store_id))
    assert len(load.accepted) == 100
