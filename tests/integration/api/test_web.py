"""What all routes have in common: error bodies, headers, cookies and bearers, limits, the OpenAPI document."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import jsonschema_rs
import orjson
import pytest
from flask import Flask, session
from openapi_spec_validator import OpenAPIV31SpecValidator

from engine import wiring
from engine.errors import HeadraceError, Unavailable
from tests.integration.api.conftest import PASSWORD, User
from webapp.errors import body_of, error_body
from webapp.openapi import ERROR
from webapp.session import csrf_token, sign_in

HTML = {"Accept": "text/html"}


# -- error bodies


@pytest.mark.parametrize(
    "method, path, status",
    [
        ("GET", "/no/such/address", 404),
        ("POST", "/user/auth/", 400),
        ("DELETE", "/user", 405),
        ("PATCH", "/flows", 405),
    ],
)
def test_every_error_has_the_documented_body(ann: User, method: str, path: str, status: int) -> None:
    answer = ann.call(method, path, headers={"Accept": "text/html"})
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/json"
    jsonschema_rs.validate(ERROR, answer.json)
    assert answer.json["statusCode"] == status


def test_405_names_the_methods(ann: User) -> None:
    assert "GET" in ann.delete("/user").headers["Allow"]


@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"name": NaN}', b'{"a": 1} x', b"[" * 2000])
def test_a_body_that_is_not_json_is_400(ann: User, body: bytes) -> None:
    answer = ann.post("/flows", data=body)
    assert answer.status_code == 400
    assert "not JSON" in answer.json["message"]


def test_a_body_over_the_limit_is_413(ann: User) -> None:
    answer = ann.post("/flows", data=b" " * (17 * 1024 * 1024))
    assert answer.status_code == 413
    assert answer.json["error"] == "Request Entity Too Large"


def test_an_unexpected_error_is_logged_under_a_number_and_shows_nothing(
    ann: User, platform: wiring.Platform, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(user_id: str) -> None:
        raise RuntimeError("inner secret")

    monkeypatch.setattr(type(platform.users), "get", lambda self, user_id: broken(user_id))
    answer = ann.get("/user?password=hunter2")
    assert answer.status_code == 500
    assert "inner secret" not in answer.text
    number = re.search(r"[0-9a-f-]{36}", answer.json["message"])
    assert number is not None
    record = next(r for r in caplog.records if r.levelno == logging.ERROR)
    assert record.__dict__["errorId"] == number[0]
    assert record.__dict__["where"] == "GET /user"
    assert record.exc_info is not None


def test_known_server_errors_keep_their_words_and_unknown_ones_do_not() -> None:
    assert body_of(Unavailable("headrace.db: the disk is full"), "")["message"] == "headrace.db: the disk is full"
    assert "secret" not in body_of(HeadraceError("inner secret"), "")["message"]
    assert "details" not in error_body(400, "x", [])


def test_people_get_pages_and_are_sent_to_sign_in(nobody: User) -> None:
    missing = nobody.get("/app/no-such-page", headers=HTML)
    assert missing.status_code == 404
    assert missing.headers["Content-Type"].startswith("text/html")
    away = nobody.get("/app/flows?q=a%20b", headers=HTML)
    assert away.status_code == 302
    assert away.headers["Location"] == "/app/sign-in?next=%2Fapp%2Fflows%3Fq%3Da%2520b"
    fragment = nobody.get("/app/flows", headers={**HTML, "HX-Request": "true", "HX-Current-URL": "/app/flows"})
    assert fragment.status_code == 204
    assert fragment.headers["HX-Redirect"].startswith("/app/sign-in")
    assert nobody.get("/app/flows", headers={"Accept": "application/json"}).status_code == 401


# -- headers and logs


def test_answers_carry_the_security_headers(ann: User) -> None:
    headers = ann.get("/user").headers
    assert "script-src 'self'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert "private" in headers["Cache-Control"]


def test_requests_are_logged_without_secrets(ann: User, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "webapp.requestlog")
    ann.post("/user/auth?sig=hidden", {"username": ann.name, "password": PASSWORD})
    ann.get("/user")
    first, second = (r.__dict__ for r in caplog.records if r.name == "webapp.requestlog")
    assert (first["method"], first["path"], first["status"], first["userId"]) == ("POST", "/user/auth", 200, None)
    assert (second["path"], second["userId"]) == ("/user", ann.id)
    told = repr((first, second))
    assert PASSWORD not in told
    assert "hidden" not in told
    assert str(ann.token) not in told


# -- cookies, CSRF, bearers


class Browser:
    """A signed-in browser: a cookie, and the page's CSRF token."""

    def __init__(self, app: Flask, platform: wiring.Platform, user: User) -> None:
        self.client = User(app.test_client())

        @app.get(f"/app/test-{user.id}")
        def enter() -> dict[str, Any]:
            sign_in(platform.users.get(user.id))
            session["seen"] = True
            return {"csrf": csrf_token()}

        self.csrf = self.client.get(f"/app/test-{user.id}").json["csrf"]


@pytest.fixture
def browser(app: Flask, platform: wiring.Platform, ann: User) -> Browser:
    return Browser(app, platform, ann)


def test_a_cookie_reads_without_and_writes_with_the_pages_token(browser: Browser, ann: User) -> None:
    client = browser.client
    assert client.get("/user").json["id"] == ann.id
    wrong: list[dict[str, str]] = [{}, {"X-CSRF-Token": "x"}, {"X-CSRF-Token": ""}]
    for headers in wrong:
        answer = client.post("/flows", {}, headers=headers)
        assert answer.status_code == 403
        assert answer.json["error"] == "Forbidden"
    assert client.post("/flows", {}, headers={"X-CSRF-Token": browser.csrf}).status_code == 200
    assert client.get("/flows/count").json == {"count": 1}


def test_a_form_may_carry_the_pages_token(browser: Browser, app: Flask) -> None:
    answer = browser.client.post("/app/no-such-form", data={"csrf_token": browser.csrf})
    assert answer.status_code == 404


def test_open_routes_need_no_page_token(browser: Browser, ann: User) -> None:
    body = {"username": ann.name, "password": PASSWORD}
    assert browser.client.post("/user/auth", body).status_code == 200


def test_an_open_route_gives_a_cookies_rights_only_to_its_own_pages(
    app: Flask, platform: wiring.Platform, new_user: Callable[..., User]
) -> None:
    """Else a page of a neighbouring host could have an administrator's browser create another administrator."""
    browser = Browser(app, platform, new_user("boss@acme.test", "admin"))
    new = {"password": PASSWORD, "scope": ["user", "admin"]}
    assert browser.client.post("/user", {**new, "email": "evil@acme.test"}).status_code == 403
    token = {"X-CSRF-Token": browser.csrf}
    assert browser.client.post("/user", {**new, "email": "good@acme.test"}, headers=token).status_code == 201


def test_a_bearer_ignores_cookies_and_needs_no_page_token(browser: Browser, bob: User) -> None:
    headers = {"Authorization": f"Bearer {bob.token}"}
    answer = browser.client.get("/user", headers=headers)
    assert answer.json["id"] == bob.id
    assert "Set-Cookie" not in answer.headers
    assert browser.client.post("/flows", {}, headers=headers).status_code == 200
    assert browser.client.get("/flows/count").json == {"count": 0}
    assert browser.client.get("/user", headers={"Authorization": "Bearer nonsense"}).status_code == 401


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(
    app: Flask, platform: wiring.Platform, ann: User
) -> None:
    browser = Browser(app, platform, ann)
    cookie = browser.client.client.get_cookie("headrace")
    assert cookie is not None
    assert cookie.http_only
    assert cookie.same_site == "Lax"


def test_a_new_password_or_a_lock_ends_cookie_sessions(browser: Browser, ann: User, platform: wiring.Platform) -> None:
    assert browser.client.get("/user").status_code == 200
    platform.users.change_password(ann.id, PASSWORD, "another one")
    assert browser.client.get("/user").status_code == 401


# -- addresses about the installation


def test_the_root_tells_programs_the_version_and_sends_browsers_to_the_flows(nobody: User) -> None:
    assert nobody.get("/").json == {"version": version("headrace")}
    browser = nobody.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert browser.status_code == 302
    assert browser.headers["Location"] == "/app/flows"


def test_health_and_metrics_are_open(nobody: User, platform: wiring.Platform) -> None:
    assert nobody.get("/health/live").status_code == 200
    assert nobody.get("/health").json == {"status": "ready", "reasons": []}
    platform.health.checks.append(lambda: "the disk is full")
    sick = nobody.get("/health")
    assert sick.status_code == 503
    assert sick.json == {"status": "not ready", "reasons": ["the disk is full"]}
    assert b"headrace_queue_messages" in nobody.get("/metrics").data


# -- the OpenAPI document


@pytest.fixture
def document(nobody: User) -> Any:
    return nobody.get("/openapi.json").json


def test_the_document_is_valid_openapi(document: Any) -> None:
    assert document["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(document).validate()
    names = [o["operationId"] for methods in document["paths"].values() for o in methods.values()]
    assert len(set(names)) == len(names)


def test_every_route_of_the_api_is_in_the_document_and_under_api(app: Flask, document: Any) -> None:
    described = {(p, m) for p, methods in document["paths"].items() for m in methods}
    routed = set()
    prefixed = set()
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            if path.startswith("/api/"):
                prefixed.add((path.removeprefix("/api"), method.lower()))
            elif not f"{path}/".startswith(("/app/", "/static/", "/favicon.ico/")):
                routed.add((path, method.lower()))
    assert described == routed
    system = {"/", "/health", "/health/live", "/metrics", "/openapi.json", "/docs"}
    assert {(p, m) for p, m in described if p not in system} == prefixed


def test_open_routes_are_marked_open(document: Any) -> None:
    assert document["paths"]["/user/auth"]["post"]["security"] == []
    assert document["paths"]["/flows"]["get"]["security"] == [{"bearer": []}]


def test_the_documentation_can_be_read(nobody: User) -> None:
    page = nobody.get("/docs", headers=HTML)
    assert page.status_code == 200
    assert "/flows/{flow_id}/coordinator" in page.text


def test_answers_are_as_documented(ann: User, document: Any) -> None:
    flow_id = ann.post("/flows", {}).json["flowId"]
    for path in ("/user", "/flows", "/flows/count", "/apps", "/components", f"/flows/{flow_id}"):
        template = path.replace(flow_id, "{flow_id}")
        schema = document["paths"][template]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema_rs.validate(schema, orjson.loads(ann.get(path).data))


# -- sign-up brake


def test_sign_up_failures_are_braked_per_name(nobody: User, ann: User, new_user: Callable[..., User]) -> None:
    for _ in range(10):
        assert nobody.post("/user", {"username": ann.name, "password": "secret"}).status_code == 400
    assert nobody.post("/user", {"username": ann.name, "password": "secret"}).status_code == 429
    assert nobody.post("/user", {"username": "fresh", "password": "secret"}).status_code == 201
