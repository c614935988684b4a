"""Calls into the own installation carry their depth; others do not."""

from __future__ import annotations

from typing import Any

from engine.model.http import HttpResponse
from engine.services.own_api import api_caller
from engine.services.own_calls import DEPTH_HEADER, MarkedHttp


class Sent:
    def __init__(self) -> None:
        self.headers: Any = None
        self.method = self.url = ""

    def request(self, method: str, url: str, **options: Any) -> Any:
        self.method, self.url, self.headers = method, url, options["headers"]
        return HttpResponse(200, {}, b"{}", url)


def test_only_own_calls_are_marked() -> None:
    sent = Sent()
    http = MarkedHttp(sent, "http://flows.example", 3)  # type: ignore[arg-type]
    http.request("POST", "http://flows.example/flows/a/components/b", headers={"A": "1"})
    assert sent.headers == {"A": "1", DEPTH_HEADER: "4"}
    http.request("POST", "http://other.example/", headers={"A": "1"})
    assert sent.headers == {"A": "1"}


class Users:
    def token(self, user_id: str) -> str:
        return f"token of {user_id}"


def test_calls_of_the_api_go_to_the_own_server_and_are_marked() -> None:
    sent = Sent()
    call = api_caller(sent, "http://web:2200", Users())  # type: ignore[arg-type]
    for path in ("/flows/a b", "flows/a b", "//flows/a b"):
        assert call("u1", path, "PUT", {"x": 1}, None, 3) == {}
        assert (sent.method, sent.url) == ("PUT", "http://web:2200/flows/a%20b")
    assert sent.headers["authorization"] == "Bearer token of u1"
    assert sent.headers[DEPTH_HEADER] == "4"
    call("u1", "@elsewhere.example/", "GET", None, None, 0)
    assert sent.url == "http://web:2200/%40elsewhere.example/"
