"""Calls into the own installation carry their depth; others do not."""

from __future__ import annotations

from typing import Any

from engine.services.own_calls import DEPTH_HEADER, MarkedHttp


class Sent:
    def __init__(self) -> None:
        self.headers: Any = None

    def request(self, method: str, url: str, **options: Any) -> Any:
        self.headers = options["headers"]


def test_only_own_calls_are_marked() -> None:
    sent = Sent()
    http = MarkedHttp(sent, "http://flows.example", 3)  # type: ignore[arg-type]
    http.request("POST", "http://flows.example/flows/a/components/b", headers={"A": "1"})
    assert sent.headers == {"A": "1", DEPTH_HEADER: "4"}
    http.request("POST", "http://other.example/", headers={"A": "1"})
    assert sent.headers == {"A": "1"}
