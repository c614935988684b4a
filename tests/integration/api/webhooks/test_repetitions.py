"""Repeated webhook calls get the first answer (engine/services/repetitions.py)."""

from __future__ import annotations

import sys
import threading
from typing import Any

import orjson
import pytest

from engine.ports import Query, Where
from engine.wiring import Platform
from tests.integration.api.webhooks.conftest import CID, SECRET, Door, FullDisk, Got, Shop, until
from workers.loop import Workers

# -- repeated calls


KEYED = {"Idempotency-Key": "order-7"}


def keyed(door: Door, path: str, n: Any, headers: dict[str, str] = KEYED, query: str = "") -> Got:
    return door.call("POST", path, json={"n": n}, headers=headers, query_string=query or None)


def same(first: Got, second: Got) -> bool:
    return (first.status, first.data, first.header(CID)) == (second.status, second.data, second.header(CID))


@pytest.mark.parametrize("kind", ["immediate", "sync", "enqueued", "elsewhere", "without answer", "nothing elsewhere"])
def test_a_repeated_call_gets_the_first_answer(door: Door, shop: Shop, workers: Workers, kind: str) -> None:
    response = ("appmixer.utils.http.Response", {"body": "@call@", "statusCode": "201"})
    outside = ("acme.shop.core.Outside", {"call": "@call@"})
    path = {
        "immediate": lambda: shop.flow({"immediateResponse": True}),
        "sync": lambda: shop.flow({"immediateResponse": False}, response),
        "enqueued": lambda: shop.flow({"immediateResponse": False}, response),
        "elsewhere": lambda: shop.flow({"immediateResponse": False}, outside, response),
        "without answer": lambda: shop.flow({"immediateResponse": False}),
        "nothing elsewhere": lambda: shop.flow({"immediateResponse": False}, outside, outside),
    }[kind]()
    query = "enqueueOnly=true" if kind == "enqueued" else ""
    first = keyed(door, path, 1, query=query)
    expected = {"immediate": 200, "sync": 201, "enqueued": 202, "elsewhere": 201}
    assert first.status == expected.get(kind, 204)
    for _ in range(2):
        assert same(first, keyed(door, path, 2, query=query))
    other = keyed(door, path, 3, {"Idempotency-Key": "order-8"}, query)
    assert other.status == first.status
    assert other.header(CID) != first.header(CID)
    until(lambda: shop.platform.bus.depth() == 0, "an empty bus")
    until(lambda: {first.header(CID), other.header(CID)} == shop.executions(), "the records of two executions")


def test_calls_without_a_key_all_run(door: Door, shop: Shop) -> None:
    path = shop.showing()
    ids = {keyed(door, path, n, {}).header(CID) for n in range(3)}
    ids |= {keyed(door, path, 1, {"Idempotency-Key": ""}).header(CID)}
    assert len(ids) == 4
    off = shop.showing(deduplicate="none")
    assert not same(keyed(door, off, 1), keyed(door, off, 1))


def test_keys_are_a_flows_own(door: Door, shop: Shop) -> None:
    first, second = shop.showing(), shop.showing()
    assert keyed(door, first, 1).json["data"] == {"n": 1}
    assert keyed(door, second, 2).json["data"] == {"n": 2}


def test_a_chosen_header_or_field(door: Door, shop: Shop) -> None:
    path = shop.showing(deduplicate="header", deduplicateBy="X-Delivery")
    assert same(keyed(door, path, 1, {"X-Delivery": "d1"}), keyed(door, path, 2, {"X-Delivery": "d1"}))
    assert not same(keyed(door, path, 1), keyed(door, path, 1))
    path = shop.showing(deduplicate="field", deduplicateBy="n.id")
    assert same(keyed(door, path, {"id": 5, "try": 1}), keyed(door, path, {"id": 5, "try": 2}))
    assert not same(keyed(door, path, {"id": 5}), keyed(door, path, {"id": 6}))
    unusable: list[Any] = [{"id": None}, {"id": {}}, {"id": True}, {}, "text"]
    for nothing in unusable:
        assert not same(keyed(door, path, nothing), keyed(door, path, nothing))


def test_a_key_does_not_open_a_check(door: Door, shop: Shop) -> None:
    path = shop.showing(check="header", checkSecret=SECRET)
    assert keyed(door, path, 1, {**KEYED, "X-Api-Key": SECRET}).status == 200
    assert keyed(door, path, 1).status == 401


def test_a_repetition_keeps_no_second_file(door: Door, shop: Shop, platform: Platform) -> None:
    path = shop.showing()
    answers = [door.call("POST", path, data=b"\0", content_type="image/png", headers=KEYED) for _ in range(2)]
    assert same(*answers)
    assert platform.files.count(Query()) == 1


def test_a_second_call_waits_for_the_first(door: Door, shop: Shop, workers: Workers, platform: Platform) -> None:
    outside = ("acme.shop.core.Outside", {"call": "@call@"})
    path = shop.flow({"immediateResponse": False}, outside, ("appmixer.utils.http.Response", {"body": "@call@"}))
    module = sys_module(platform)
    module.GATE.clear()
    got: list[Got] = []
    threads = [threading.Thread(target=lambda n=n: got.append(keyed(door, path, n))) for n in range(6)]
    for thread in threads:
        thread.start()
    until(lambda: module.CALLS, "the first call at work")
    module.GATE.set()
    for thread in threads:
        thread.join()
    assert {one.status for one in got} == {200}
    assert all(same(got[0], one) for one in got)
    assert len(module.CALLS) == 1


def sys_module(platform: Platform) -> Any:
    """The module of the component Outside, as the catalogue has loaded it."""
    found = platform.catalogue.get("acme.shop.core.Outside")
    assert found is not None
    module = sys.modules[type(found.behaviour).__module__]
    module.CALLS.clear()
    return module


def test_one_that_timed_out_gets_its_answer_at_the_next_try(
    door: Door, shop: Shop, workers: Workers, platform: Platform
) -> None:
    outside = ("acme.shop.core.Outside", {"call": "@call@"})
    path = shop.flow({"immediateResponse": False}, outside, ("appmixer.utils.http.Response", {"body": "@call@"}))
    module = sys_module(platform)
    module.GATE.clear()
    first = keyed(door, path, 1)
    assert first.status == 504
    assert first.json["details"] == [{"correlationId": first.header(CID)}]
    module.GATE.set()
    second = keyed(door, path, 2)
    assert (second.status, second.header(CID)) == (200, first.header(CID))
    assert orjson.loads(second.data)["data"] == {"n": 1}
    assert len(module.CALLS) == 1


def test_a_call_that_could_not_be_stored_is_no_first_call(
    door: Door, shop: Shop, platform: Platform, full_disk: FullDisk
) -> None:
    path = shop.showing()
    with full_disk():
        assert keyed(door, path, 1).status == 503
    assert keyed(door, path, 2).json["data"] == {"n": 2}


def test_keys_are_forgotten_after_a_day(door: Door, shop: Shop, platform: Platform) -> None:
    path = shop.showing()
    first = keyed(door, path, 1)
    [doc] = platform.documents.find("webhook_keys")
    assert doc["expires"] - doc["created"] == 24 * 3_600_000
    platform.documents.update("webhook_keys", doc["_id"], {"expires": platform.clock.now() - 1})
    assert not same(first, keyed(door, path, 2))
    platform.documents.update("webhook_keys", doc["_id"], {"expires": platform.clock.now() - 1})
    platform.housekeeping()
    assert platform.documents.count("webhook_keys") == 0
    keyed(door, path, 1)
    shop.owner.delete(f"/flows/{shop.flow_id}")
    assert platform.documents.count("webhook_keys") == 0


def test_the_keys_of_unanswered_calls_are_known_after_a_restart(platform: Platform) -> None:
    far = platform.clock.now() + 10_000
    both: list[dict[str, Any]] = [{"open": 1}, {"reply": {"status": 200, "body": 1, "headers": {}}}]
    for n, more in enumerate(both):
        doc = {"_id": f"k{n}", "flowId": "f", "correlationId": f"c{n}", "created": 0, "expires": far, **more}
        platform.documents.put("webhook_keys", doc)
    platform.webhooks._keys.recall()
    assert platform.cache.get("keyed:c0") == "k0"
    assert platform.cache.get("keyed:c1") is None
    assert platform.documents.count("webhook_keys", Query(where=(Where("open", "eq", 1),))) == 1
