"""Who may see and do what on the pages; what a page answers to those who may not."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask

from engine.wiring import Platform
from tests.integration.api.conftest import PASSWORD, User

HTML = {"Accept": "text/html"}
FLOW = {"name": "Secret plan", "flow": {"a": {"type": "acme.shop.core.Begin", "label": "Hidden step"}}}
PAGES = [
    ("GET", "", "read"),
    ("GET", "/head", "read"),
    ("GET", "/export", "read"),
    ("GET", "/log", "read"),
    ("PUT", "/name", "write"),
    ("POST", "/send", "start"),
    ("POST", "/start", "start"),
    ("POST", "/stop", "stop"),
    ("DELETE", "", "write"),
]


@pytest.fixture
def flow(ann: User) -> str:
    return str(ann.post("/flows", FLOW).json["flowId"])


@pytest.mark.parametrize(("method", "path", "permission"), PAGES)
def test_a_stranger_learns_nothing(flow: str, stranger: User, method: str, path: str, permission: str) -> None:
    answer = stranger.call(method, f"/app/flows/{flow}{path}", headers=HTML, data={"name": "x"})
    assert answer.status_code == 404
    assert "Secret plan" not in answer.text
    assert "Hidden step" not in answer.text


@pytest.mark.parametrize(("method", "path", "permission"), PAGES)
def test_a_reader_may_look_but_not_touch(
    flow: str, ann: User, bob: User, method: str, path: str, permission: str
) -> None:
    ann.put(f"/flows/{flow}", {"sharedWith": [{"email": bob.name, "permissions": ["read"]}]})
    answer = bob.call(method, f"/app/flows/{flow}{path}", headers=HTML, data={"name": "x"})
    assert answer.status_code == (200 if permission == "read" else 403)
    if path == "":
        assert "hx-delete" not in answer.text
        assert "hx-put" not in answer.text


@pytest.mark.parametrize("path", [path for method, path, _ in PAGES if method == "GET"])
def test_nobody_is_sent_to_sign_in_and_back(flow: str, app: Flask, path: str) -> None:
    answer = app.test_client().get(f"/app/flows/{flow}{path}", headers=HTML)
    assert answer.status_code == 302
    assert answer.headers["Location"] == f"/app/sign-in?next=%2Fapp%2Fflows%2F{flow}{path.replace('/', '%2F')}"


def test_a_fragment_without_a_session_leaves_the_page(flow: str, app: Flask) -> None:
    headers = {**HTML, "HX-Request": "true", "HX-Current-URL": f"http://localhost/app/flows/{flow}"}
    answer = app.test_client().get("/app/flows", headers=headers)
    assert answer.status_code == 204
    assert answer.headers["HX-Redirect"].startswith("/app/sign-in?next=")


def test_a_cookie_alone_changes_nothing(flow: str, app: Flask, platform: Platform, ann: User) -> None:
    client = app.test_client()
    page = client.get("/app/sign-in").get_data(as_text=True)
    token = re.findall(r'name="csrf_token" value="([^"]+)"', page)[0]
    form = {"email": ann.name, "password": PASSWORD, "csrf_token": token, "next": "//evil.test/x"}
    entered = client.post("/app/sign-in", data=form)
    assert (entered.status_code, entered.headers["Location"]) == (302, "/app/flows")
    assert client.delete(f"/app/flows/{flow}", headers=HTML).status_code == 403
    assert client.post("/app/flows/import", headers=HTML).status_code == 403
    assert platform.documents.get("flows", flow) is not None


def test_an_error_never_lands_in_a_fragment_s_place(flow: str, stranger: User) -> None:
    answer = stranger.get(f"/app/flows/{flow}/head", headers={**HTML, "HX-Request": "true"})
    assert answer.status_code == 404
    assert answer.headers["HX-Reswap"] == "none"
    assert "data-error-message" in answer.text


def test_the_list_shows_own_and_shared_flows_only(flow: str, ann: User, bob: User, stranger: User) -> None:
    ann.put(f"/flows/{flow}", {"sharedWith": [{"email": bob.name, "permissions": ["read"]}]})
    assert "Secret plan" in ann.get("/app/flows", headers=HTML).text
    shared = bob.get("/app/flows", headers=HTML).text
    assert "Secret plan" in shared
    assert "Shared with you" in shared
    assert "Secret plan" not in stranger.get("/app/flows", headers=HTML).text


def test_what_people_wrote_is_text_never_markup(ann: User) -> None:
    name = '"><script src=/x></script>'
    made = ann.post("/flows", {"name": name, "flow": {"a": {"type": "x.y.z", "label": name}}, "description": name})
    for path in ("/app/flows", f"/app/flows/{made.json['flowId']}"):
        text = ann.get(path, headers=HTML).text
        assert "<script src=/x>" not in text
        assert "&lt;script src=/x&gt;" in text


@pytest.mark.parametrize(
    "query", ["offset=-1", "offset=99999999999999999999", "sort=nope", "stage=%00", "pattern=%5B(%25"]
)
def test_odd_queries_show_a_list(ann: User, flow: str, query: str) -> None:
    assert ann.get(f"/app/flows?{query}", headers=HTML).status_code == 200


def test_a_page_beyond_the_end_is_the_last_page(ann: User, flow: str) -> None:
    assert "Secret plan" in ann.get("/app/flows?offset=500", headers=HTML).text


@pytest.mark.parametrize("text", ['"', "AND OR", "a:b", "(((", "*?", "\\", "x" * 3000])
def test_any_text_may_be_searched_in_the_run_log(ann: User, flow: str, text: str) -> None:
    assert ann.get(f"/app/flows/{flow}/log", query_string={"text": text}, headers=HTML).status_code == 200


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({"target": "webhook:a"}, "start it first"),
        ({"target": "port:a:in", "body": "{"}, "must be JSON"),
        ({"target": "nothing"}, "Choose what to send to"),
        ({"target": "webhook:a", "method": "BREW"}, "The method must be one of"),
        ({}, "Choose what to send to"),
    ],
)
def test_the_test_form_tells_what_went_wrong(ann: User, flow: str, form: dict[str, Any], told: str) -> None:
    answer = ann.post(f"/app/flows/{flow}/send", data=form, headers=HTML)
    assert answer.status_code == 200
    assert told in answer.text


def test_streams_are_for_those_who_may_read(flow: str, stranger: User, nobody: User, ann: User) -> None:
    path = f"/app/stream?topics=log:{flow}"
    assert nobody.get(path).status_code == 401
    assert stranger.get(path).status_code == 404
    assert ann.get("/app/stream?topics=x:1").status_code == 400


def test_a_stream_is_server_sent_events_nobody_may_buffer(app: Flask, flow: str, ann: User) -> None:
    headers = {"Authorization": f"Bearer {ann.token}", "Last-Event-ID": "1"}
    answer = app.test_client().get(f"/app/stream?topics=flow:gone,flow:{flow}", headers=headers, buffered=False)
    parts = answer.iter_encoded()
    assert (answer.mimetype, answer.headers["X-Accel-Buffering"]) == ("text/event-stream", "no")
    assert next(parts) == b": open\n\n"
    assert f'data: {{"topic":"flow:{flow}"}}'.encode() in next(parts)
    answer.close()
