"""What callers are answered, and what answers cannot do."""

from __future__ import annotations

from typing import Any

import pytest

from engine.model.log import LogQuery
from engine.wiring import Platform
from tests.integration.api.webhooks.conftest import CID, Door, Shop, until
from workers.loop import Workers

# -- answers


def test_204_504_and_later_answers(door: Door, shop: Shop, workers: Workers, platform: Platform) -> None:
    outside = ("acme.shop.core.Outside", {"call": "@call@"})
    twice = ("acme.shop.core.Answering", {"x": 1})
    path = shop.flow({"immediateResponse": False}, outside, twice, outside, twice)
    got = door.call("POST", path, json={})
    assert (got.status, got.json) == (200, {"n": 1})

    def late() -> list[str]:
        where = LogQuery(query="further", flow_ids=(shop.flow_id,))
        return [hit["correlationId"] for hit in platform.log_index.search(where).hits]

    until(late, "a record of the later answer")
    assert late() == [got.header(CID)]


def test_an_immediate_answer_and_a_later_one_in_the_same_delivery(door: Door, shop: Shop, workers: Workers) -> None:
    path = shop.flow({"immediateResponse": True}, ("appmixer.utils.http.Response", {"body": "late"}))
    got = door.call("POST", path, json={"first": 1})
    assert got.json == {"first": 1}
    until(lambda: any("further answer" in r["msg"] for r in shop.records(shop.flow_id, 1)), "a record of it")


HOSTILE: list[tuple[dict[str, Any], int, dict[str, str | None]]] = [
    ({"headers": {"X-A": "1\r\nSet-Cookie: a=b"}}, 200, {"X-A": None, "Set-Cookie": None}),
    ({"headers": {"X-A\r\nB": "1", "X B": "1", "": "1"}}, 200, {}),
    ({"headers": {"X-A": "\x01", "X-B": "ok"}}, 200, {"X-A": None, "X-B": "ok"}),
    ({"headers": {"X-A": "ä€"}}, 200, {"X-A": "ä€".encode().decode("latin-1")}),
    ({"headers": {"Set-Cookie": "headrace=x", "Clear-Site-Data": '"cookies"', "Server": "x"}}, 200,
     {"Set-Cookie": None, "Clear-Site-Data": None, "Server": None}),
    ({"headers": {"Content-Length": "1", "Transfer-Encoding": "chunked"}}, 200, {"Transfer-Encoding": None}),
    ({"headers": {"content-security-policy": "x", "X-CONTENT-TYPE-OPTIONS": "x", CID: "x"}}, 200,
     {"X-Content-Type-Options": "nosniff"}),
    ({"status": 101}, 500, {}),
    ({"status": 304}, 304, {"Content-Type": None, "Content-Length": None}),
    ({"bytes": True}, 204, {}),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "status", "has"), HOSTILE, ids=range(len(HOSTILE)))
def test_answers_cannot_forge_or_reach_beyond_themselves(
    door: Door, shop: Shop, workers: Workers, answer: dict[str, Any], status: int, has: dict[str, str | None]
) -> None:
    path = shop.flow({"immediateResponse": False}, ("acme.shop.core.Answering", answer))
    got = door.call("POST", path, json={})
    assert got.status == status
    for name, value in has.items():
        assert got.header(name) == value
    assert "sandbox" in str(got.header("Content-Security-Policy"))
    assert got.header(CID) != "x"
    assert all(name.isascii() and "\n" not in name + value for name, value in got.headers)
    assert int(got.header("Content-Length") or 0) == len(got.data)
