"""How often a webhook may be called: the same at both doors (design.md §5, §7)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.settings import Settings
from engine.wiring import Platform
from tests.integration.api.webhooks.conftest import Door, Shop

PER_FLOW, PER_ADDRESS, BURST = 2.0, 4.0, 3.0


class Time:
    seconds = 1000.0


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, webhook_rate=PER_FLOW, webhook_address_rate=PER_ADDRESS, webhook_burst=BURST)


@pytest.fixture(autouse=True)
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr("webapp.limits.monotonic", lambda: made.seconds)
    return made


def statuses(door: Door, path: str, count: int, address: str = "192.0.2.1", method: str = "POST") -> list[int]:
    environ = {"REMOTE_ADDR": address}
    return [door.call(method, path, environ=environ, json={}).status for _ in range(count)]


def test_a_flow_takes_a_burst_and_then_its_rate(door: Door, shop: Shop, time: Time) -> None:
    path = shop.flow({"immediateResponse": True})
    assert statuses(door, path, 7) == [200] * 6 + [429]
    got = door.call("POST", path, json={}, environ={"REMOTE_ADDR": "198.51.100.7"})
    assert got.status == 429
    assert got.json["error"] == "Too Many Requests"
    assert "calls to this flow" in got.json["message"]
    assert got.header("Retry-After") == "1"
    assert got.json["details"] == [{"retryAfter": 1}]
    time.seconds += 1
    assert statuses(door, path, 3) == [200, 200, 429]


def test_other_flows_are_not_concerned(door: Door, shop: Shop) -> None:
    first, second = shop.flow({"immediateResponse": True}), shop.flow({"immediateResponse": True})
    assert statuses(door, first, 7)[-1] == 429
    assert statuses(door, second, 1, "198.51.100.7") == [200]


def test_what_is_refused_leaves_nothing_behind(door: Door, shop: Shop) -> None:
    path = shop.flow({"immediateResponse": True})
    statuses(door, path, 6)
    before = shop.stored()
    assert statuses(door, path, 1) == [429]
    assert shop.stored() == before


def test_an_address_takes_its_rate_over_all_flows_that_are_and_are_not(door: Door, shop: Shop, time: Time) -> None:
    paths = [shop.flow({"immediateResponse": True}), "/flows/none/components/none"]
    assert statuses(door, paths[0], 6) + statuses(door, paths[1], 7) == [200] * 6 + [404] * 6 + [429]
    got = door.call("POST", paths[1], json={}, environ={"REMOTE_ADDR": "192.0.2.1"})
    assert "calls from your address" in got.json["message"]
    assert statuses(door, paths[1], 1, "192.0.2.2") == [404]
    time.seconds += 0.5
    assert statuses(door, paths[1], 3) == [404, 404, 429]


def test_addresses_of_one_ipv6_network_count_as_one(door: Door) -> None:
    path = "/flows/none/components/none"
    statuses(door, path, 12, "2001:db8:1:2::1")
    assert statuses(door, path, 1, "2001:db8:1:2:ffff::2") == [429]
    assert statuses(door, path, 1, "2001:db8:1:3::1") == [404]


def test_asking_what_is_allowed_is_not_counted_for_the_flow(door: Door, shop: Shop) -> None:
    path = shop.flow({"immediateResponse": True, "allowedOrigins": "https://shop.test"})
    assert statuses(door, path, 6)[-1] == 200
    for method, status in (("HEAD", 200), ("OPTIONS", 204)):
        assert statuses(door, path, 1, "192.0.2.9", method) == [status]
    headers = {"Origin": "https://shop.test"}
    got = door.call("POST", path, json={}, headers=headers, environ={"REMOTE_ADDR": "192.0.2.9"})
    assert got.status == 429
    assert got.header("Access-Control-Allow-Origin") == "https://shop.test"
    assert "Retry-After" in (got.header("Access-Control-Expose-Headers") or "")


class TestBehindProxies:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, proxies=2)

    def test_the_callers_address_is_the_one_the_outer_proxy_saw(self, door: Door) -> None:
        def call(forwarded: str | None) -> int:
            headers = {"X-Forwarded-For": forwarded} if forwarded else {}
            return door.call("GET", "/flows/none/components/none", headers=headers).status

        for n in range(12):  # what the caller claims in front of it changes nothing
            assert call(f"10.0.0.{n}, 192.0.2.1, 10.1.1.1") == 404
        assert call("1.2.3.4, 192.0.2.1, 10.1.1.1") == 429
        assert call("192.0.2.1, 192.0.2.2, 10.1.1.1") == 404
        assert call("192.0.2.1") == 404, "a proxy's own call: its address is the connection's"
        assert call(None) == 404


class TestWithoutLimits:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, webhook_rate=0.0, webhook_address_rate=0.0)

    def test_everybody_may_call(self, door: Door, shop: Shop) -> None:
        assert set(statuses(door, shop.flow({"immediateResponse": True}), 40)) == {200}


def test_by_default_ten_flows_take_two_thousand_calls_a_second(platform: Platform) -> None:
    default = Settings()
    assert default.webhook_rate * 10 >= 2_000
    assert default.webhook_address_rate == 0
