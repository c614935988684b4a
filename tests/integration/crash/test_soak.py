"""The whole of durability in one flow, killed again and again (issue "Nothing lost, nothing doubled").

`make test` runs a short form with a fixed seed, `make soak` the long one; the seed and the figures are printed.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import Any

import pytest

from tests.integration.crash.conftest import Counting, Killable, Load
from tests.integration.crash.soak_flow import soak_flow

RATE = 200.0


def soak(server: Killable, counting: Counting, *, seed: int, kills: int, deliveries: int, quiet: float) -> None:
    chance = random.Random(seed)
    server.start()
    store_id = server.call("POST", "/stores", {"name": "done"})["storeId"]
    flow, hook = soak_flow(store_id, counting.port)
    flow_id = server.call("POST", "/flows", {"name": "soak", "flow": flow})["flowId"]
    server.call("POST", f"/flows/{flow_id}/coordinator", {"command": "start"})
    load = Load(f"/flows/{flow_id}/components/{hook}", server, counting=counting)
    load.run(deliveries, RATE, chance.sample(range(deliveries // 20, deliveries), kills), chance)
    wait_until_done(server, store_id, load.accepted, quiet)
    stored = entries(server, store_id)
    repeated = sum(n - 1 for n in counting.counts.values())
    log = server.log_records(flow_id)
    outputs = Counter((r["correlationId"], r["componentId"], r["port"]) for r in log if r.get("portType") == "out")
    print(  # noqa: T201 - the figures of the run are its result
        f"\nseed {seed}: {len(load.accepted)} of {deliveries} deliveries accepted, {kills} kills, "
        f"{len(stored)} stored, {repeated} of {sum(counting.counts.values())} posts repeated, "
        f"{load.in_flight} calls in flight at the kills, {len(log)} log records"
    )
    check(flow, load, stored, log, outputs)
    assert repeated <= load.in_flight
    assert server.call("GET", f"/unprocessed-messages?flowId={flow_id}") == []
    begun = {r["correlationId"] for r in log if r.get("correlationId")}
    assert server.executions(flow_id) == {"succeeded": len(begun)}


def check(
    flow: dict[str, Any], load: Load, stored: dict[str, str], log: list[dict[str, Any]], outputs: Counter[Any]
) -> None:
    assert set(load.accepted) <= set(stored), f"lost: {sorted(set(load.accepted) - set(stored))[:10]}"
    parts = [value.split("|") for value in stored.values()]
    counts = Counter(count for count, _, _ in parts)
    assert [c for c, n in counts.items() if n > 1] == [], "a counter value occurred twice"
    assert {items for _, items, _ in parts} == {"5"}, "a join did not have its five items"
    assert len({u for _, _, u in parts}) == len(parts), "a redelivery took another random value"
    once = {cid for cid, step in flow.items() if step["type"].split(".")[-1] not in ("Each", "Post")}
    assert [key for key, n in outputs.items() if n > 1 and key[1] in once] == [], "a step gave its output twice"
    assert max(Counter(r["_id"] for r in log).values()) == 1


def entries(server: Killable, store_id: str) -> dict[str, str]:
    found: dict[str, str] = {}
    while True:
        page = server.call("GET", f"/store?storeId={store_id}&limit=1000&offset={len(found)}&sort=key:1")
        found.update((entry["key"], entry["value"]) for entry in page)
        if len(page) < 1000:
            return found


def wait_until_done(server: Killable, store_id: str, accepted: list[str], seconds: float) -> None:
    """Every accepted delivery has its entry and nothing waits; gives up when nothing moves any more."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        text = server.http.request("GET", f"{server.url}/metrics", timeout=30).data.decode()
        waiting = next(float(x.split()[1]) for x in text.splitlines() if x.startswith("headrace_queue_messages "))
        if waiting == 0 and server.call("GET", f"/store/count?storeId={store_id}")["count"] >= len(accepted):
            time.sleep(3)  # deliveries that were refused may have left waits behind
            return
        time.sleep(1)


def test_a_few_kills(killable: Killable, counting: Counting) -> None:
    soak(killable, counting, seed=4711, kills=2, deliveries=300, quiet=60)


@pytest.mark.soak
@pytest.mark.timeout(3000)
def test_thirty_kills(killable: Killable, counting: Counting) -> None:
    soak(killable, counting, seed=random.SystemRandom().randrange(10**6), kills=30, deliveries=20_000, quiet=1800)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_without_the_ledger_calls_are_repeated(killable: Killable, counting: Counting) -> None:
    """What the ledger is good for: the same run without it repeats calls that had been answered."""
    killable.settings["HEADRACE_LEDGER"] = "false"
    with pytest.raises(AssertionError):
        soak(killable, counting, seed=4711, kills=10, deliveries=1_500, quiet=300)
