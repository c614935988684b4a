"""Users, signing in and tokens (rest-api.md §1, §2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jwt
import pytest
from flask import Flask

from engine import wiring
from engine.errors import BadRequest, Conflict, Forbidden
from engine.ports import Query
from engine.settings import Settings
from tests.integration.api.conftest import PASSWORD, Answer, User
from webapp.factory import create_app


def test_signing_up_then_in_gives_a_token_that_works(nobody: User) -> None:
    created = nobody.post("/user", {"email": "New@Acme.Test", "password": "secret"})
    assert created.status_code == 201
    user = created.json["user"]
    assert (user["username"], user["email"], user["scope"]) == ("new@acme.test", "new@acme.test", ["user"])
    signed_in = nobody.post("/user/auth", {"username": "NEW@acme.test", "password": "secret"})
    assert signed_in.status_code == 200
    assert signed_in.json["user"]["id"] == user["id"]
    nobody.token = signed_in.json["token"]
    me = nobody.get("/user").json
    assert me["id"] == user["id"]
    assert "password" not in me


def test_a_username_is_copied_to_the_address(nobody: User) -> None:
    user = nobody.post("/user", {"username": "terra", "password": "secret", "metadata": {"a": "1"}}).json["user"]
    assert (user["username"], user["email"], user["metadata"]) == ("terra", "terra", {"a": "1"})


def test_the_token_has_the_claims_clients_read(ann: User) -> None:
    claims = jwt.decode(ann.token or "", options={"verify_signature": False})
    assert set(claims) == {"id", "sub", "scope", "iat", "exp"}
    assert claims["id"] == claims["sub"] == ann.id
    assert claims["exp"] - claims["iat"] == 30 * 86_400
    assert jwt.get_unverified_header(ann.token or "")["alg"] == "HS256"


def test_a_shorter_token_may_be_asked_for(ann: User, nobody: User) -> None:
    body = {"username": ann.name, "password": PASSWORD}
    token = nobody.post("/user/auth", {**body, "expiresIn": 60}).json["token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 60
    assert nobody.post("/user/auth", {**body, "expiresIn": 31 * 86_400}).status_code == 400
    assert nobody.post("/user/auth", {**body, "expiresIn": 0}).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"username": "x"},
        {"password": "secret"},
        {"username": "x", "password": "four"},
        {"username": "x", "password": 12345},
        {"username": "", "email": "", "password": "secret"},
        {"username": "a\nb", "password": "secret"},
        {"username": "x" * 400, "password": "secret"},
        {"username": "x", "password": "secret", "metadata": []},
        [],
    ],
)
def test_a_user_with_wrong_fields_is_refused(nobody: User, body: Any) -> None:
    answer = nobody.post("/user", body)
    assert answer.status_code == 400
    assert answer.json["statusCode"] == 400
    assert answer.json["error"] == "Bad Request"


def test_a_user_who_exists_is_told_with_400(ann: User, nobody: User) -> None:
    for body in ({"username": ann.name}, {"email": "ANN@acme.test"}, {"username": "other", "email": ann.name}):
        answer = nobody.post("/user", {**body, "password": "secret"})
        assert answer.status_code == 400
        assert "exists" in answer.json["message"]


def test_unknown_user_and_wrong_password_are_both_403(ann: User, nobody: User) -> None:
    unknown = nobody.post("/user/auth", {"username": "who@acme.test", "password": "secret"})
    wrong = nobody.post("/user/auth", {"username": ann.name, "password": "secret"})
    assert unknown.status_code == wrong.status_code == 403
    assert unknown.json == wrong.json


def test_guessing_is_braked_per_account(ann: User, bob: User, nobody: User) -> None:
    for _ in range(10):
        assert nobody.post("/user/auth", {"username": ann.name, "password": "wrong"}).status_code == 403
    answer = nobody.post("/user/auth", {"username": ann.name.upper(), "password": PASSWORD})
    assert answer.status_code == 429
    assert answer.json["statusCode"] == 429
    assert nobody.post("/user/auth", {"username": bob.name, "password": PASSWORD}).status_code == 200


def test_success_forgets_failures(ann: User, nobody: User) -> None:
    for _ in range(3):
        for _ in range(9):
            nobody.post("/user/auth", {"username": ann.name, "password": "wrong"})
        assert nobody.post("/user/auth", {"username": ann.name, "password": PASSWORD}).status_code == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_matched_in_any_case(ann: User, scheme: str) -> None:
    assert ann.client.get("/user", headers={"Authorization": f"{scheme} {ann.token}"}).status_code == 200


def test_bad_tokens_are_401(ann: User, nobody: User, platform: wiring.Platform) -> None:
    token = ann.token or ""
    head, payload, signature = token.split(".")
    unsigned = jwt.encode({"sub": ann.id, "exp": 2**33}, "", algorithm="none")
    foreign = jwt.encode({"sub": ann.id, "exp": 2**33}, "k" * 32, algorithm="HS256")
    eternal = jwt.encode({"sub": ann.id, "id": ann.id}, platform.users._key, algorithm="HS256")
    odd = jwt.encode({"sub": ann.id, "exp": "soon"}, platform.users._key, algorithm="HS256")
    for bad in ("", "x", f"{head}.{payload}.", f"{head}.{payload}.{signature[::-1]}", unsigned, foreign, eternal, odd):
        answer = nobody.get("/user", headers={"Authorization": f"Bearer {bad}"})
        assert answer.status_code == 401, bad
        assert answer.json["error"] == "Unauthorized"
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert nobody.get("/user").status_code == 401
    assert nobody.get("/user", headers={"Authorization": "Basic YTpi"}).status_code == 401


def test_an_expired_token_is_401_and_says_so(ann: User, platform: wiring.Platform) -> None:
    record = platform.users.get(ann.id)
    ann.token = platform.users.issue_token(record, 1)
    claims = jwt.decode(ann.token, options={"verify_signature": False})

    class Later:
        def now(self) -> int:
            return int(claims["exp"] * 1000)

    platform.users._clock = Later()
    answer = ann.get("/user")
    assert answer.status_code == 401
    assert "expired" in answer.json["message"]


def test_a_locked_or_deleted_user_has_no_way_in(ann: User, bob: User, admin: User, nobody: User) -> None:
    assert admin.put(f"/users/{ann.id}", {"isActive": False}).status_code == 200
    assert ann.get("/user").status_code == 401
    assert nobody.post("/user/auth", {"username": ann.name, "password": PASSWORD}).status_code == 403
    assert admin.delete(f"/users/{bob.id}").status_code == 200
    assert bob.get("/user").status_code == 401


def test_changing_the_password(ann: User, nobody: User) -> None:
    change = {"oldPassword": PASSWORD, "newPassword": "another one"}
    assert ann.post("/user/change-password", {**change, "oldPassword": "wrong"}).status_code == 400
    assert ann.post("/user/change-password", {**change, "newPassword": "four"}).status_code == 400
    assert ann.post("/user/change-password", change).json == {}
    assert nobody.post("/user/auth", {"username": ann.name, "password": PASSWORD}).status_code == 403
    assert nobody.post("/user/auth", {"username": ann.name, "password": "another one"}).status_code == 200


def test_only_an_administrator_gives_rights(ann: User, admin: User, nobody: User) -> None:
    wanted = {"username": "vip", "password": "secret", "scope": ["user", "admin"]}
    assert nobody.post("/user", wanted).status_code == 403
    assert ann.post("/user", wanted).status_code == 403
    assert nobody.post("/user", {**wanted, "scope": ["user"]}).status_code == 201
    made = admin.post("/user", {**wanted, "username": "vip2", "vendor": ["acme"]})
    assert made.status_code == 201
    assert made.json["user"]["scope"] == ["user", "admin"]
    assert made.json["user"]["vendor"] == ["acme"]


@pytest.mark.parametrize(
    "method, path", [("GET", "/users"), ("GET", "/users/count"), ("GET", "/users/{id}"), ("PUT", "/users/{id}"),
                     ("DELETE", "/users/{id}"), ("GET", "/users/{id}/delete-status/x")]
)  # fmt: skip
def test_administration_is_for_administrators(ann: User, bob: User, nobody: User, method: str, path: str) -> None:
    path = path.format(id=ann.id)
    assert bob.call(method, path).status_code == 403
    assert ann.call(method, path).status_code == 403
    assert nobody.call(method, path).status_code == 401
    assert ann.get("/user").status_code == 200


def test_listing_and_counting_users(ann: User, bob: User, stranger: User, admin: User) -> None:
    users = admin.get("/users?sort=username:1").json
    assert [u["username"] for u in users] == sorted(u.name for u in (ann, bob, stranger, admin))
    assert not any("password" in u for u in users)
    assert admin.get("/users/count").json == {"count": 4}
    assert [u["id"] for u in admin.get("/users?pattern=^MALL").json] == [stranger.id]
    assert [u["id"] for u in admin.get("/users?sort=username:1&limit=1&offset=1").json] == [bob.id]
    assert [u["id"] for u in admin.get("/users?filter=scope:admin").json] == [admin.id]
    assert admin.get("/users/count?filter=scope:admin").json == {"count": 1}
    for probe in ("users?filter=password:^$argon2", "users/count?filter=password:~x", "users?sort=password:1"):
        assert admin.get(f"/{probe}").status_code == 400


def test_changing_a_user(ann: User, bob: User, admin: User) -> None:
    changes = {"scope": ["user", "tester"], "vendor": "acme", "metadata": {"a": "b"}, "email": "Ann2@Acme.Test"}
    changed = admin.put(f"/users/{ann.id}", changes).json
    assert changed["scope"] == ["user", "tester"]
    assert changed["email"] == "ann2@acme.test"
    assert admin.get(f"/users/{ann.id}").json == changed
    assert admin.put(f"/users/{ann.id}", {"email": bob.name}).status_code == 400
    assert admin.put(f"/users/{ann.id}", {"scope": "admin"}).status_code == 400
    assert admin.put("/users/nobody", {"vendor": "x"}).status_code == 404
    assert admin.put(f"/users/{admin.id}", {"scope": ["user"]}).status_code == 400
    assert admin.put(f"/users/{admin.id}", {"isActive": False}).status_code == 400


def test_deleting_a_user_erases_what_is_theirs(
    ann: User, bob: User, admin: User, platform: wiring.Platform, nobody: User
) -> None:
    flow_id = ann.post("/flows", {"name": "mine"}).json["flowId"]
    kept = bob.post("/flows", {"name": "kept"}).json["flowId"]
    file = platform.files.save("a.txt", b"x", content_type="text/plain", metadata={"userId": ann.id})
    ticket = admin.delete(f"/users/{ann.id}").json["ticket"]
    status = admin.get(f"/users/{ann.id}/delete-status/{ticket}").json
    assert status["status"] == "completed"
    assert status["stepsDone"] == status["stepsTotal"]
    assert admin.get(f"/users/{ann.id}").status_code == 404
    assert admin.get(f"/flows/{flow_id}").status_code == 404
    assert admin.get(f"/flows/{kept}").status_code == 200
    assert file.file_id not in [f.file_id for f in platform.files.find(Query())]
    assert admin.delete(f"/users/{admin.id}").status_code == 400
    assert admin.delete("/users/nobody").status_code == 404


def test_sign_ups_from_one_address_are_limited(settings: Settings) -> None:
    built = wiring.build(replace(settings, signup_rate=3, proxies=1))
    try:
        app = create_app(built)
        somebody = User(app.test_client(use_cookies=False))

        def sign_up(n: int, address: str = "192.0.2.1", **more: Any) -> Answer:
            headers = {"X-Forwarded-For": address}
            return somebody.post(
                "/user", {"username": f"u{n}@acme.test", "password": PASSWORD}, headers=headers, **more
            )

        assert [sign_up(n).status_code for n in (1, 2, 2)] == [201, 201, 400]
        refused = sign_up(4)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "3600")
        assert "try again in an hour" in refused.json["message"]
        assert built.users.find("u4@acme.test") is None
        assert sign_up(6, "192.0.2.2").status_code == 201
        record = built.users.add({"username": "root@acme.test", "password": PASSWORD, "scope": ["user", "admin"]})
        somebody.token = built.users.issue_token(record)
        assert [sign_up(n).status_code for n in range(7, 12)] == [201] * 5, "administrators as many as they like"
    finally:
        built.close()


def test_closed_sign_up_lets_only_administrators_create(settings: Settings) -> None:
    platform = wiring.build(replace(settings, signup=False))
    try:
        client = create_app(platform).test_client(use_cookies=False)
        body = {"username": "x", "password": "secret"}
        assert User(client).post("/user", body).status_code == 403
        root = platform.users.add({"username": "root", "password": "secret", "scope": ["user", "admin"]})
        assert User(client, token=platform.users.issue_token(root)).post("/user", body).status_code == 201
    finally:
        platform.close()


def test_the_first_administrator_is_made_once(platform: wiring.Platform, app: Flask) -> None:
    assert platform.users.is_empty()
    with pytest.raises(BadRequest):
        platform.users.create_first_admin({"email": "root@acme.test", "password": "four"})
    first = platform.users.create_first_admin({"email": "root@acme.test", "password": "secret"})
    assert first["scope"] == ["user", "admin"]
    assert not platform.users.is_empty()
    with pytest.raises(Conflict):
        platform.users.create_first_admin({"email": "eve@acme.test", "password": "secret"})


def test_the_administrator_of_the_settings_is_created_and_updated(platform: wiring.Platform) -> None:
    users = platform.users
    users.ensure_admin("Boss@acme.test", "secret one")
    users.ensure_admin("boss@acme.test", "secret two")
    boss = users.authenticate("boss@acme.test", "secret two")
    assert boss["scope"] == ["user", "admin"]
    with pytest.raises(Forbidden):
        users.authenticate("boss@acme.test", "secret one")


def test_a_new_password_ends_cookie_sessions_by_changing_the_stamp(
    platform: wiring.Platform, new_user: Callable[..., User]
) -> None:
    ann = new_user("ann")
    before = platform.users.session_user(ann.id)
    platform.users.change_password(ann.id, PASSWORD, "another one")
    after = platform.users.session_user(ann.id)
    assert before is not None
    assert after is not None
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_strangers_cannot_leave_large_things_behind(nobody: User, platform: wiring.Platform) -> None:
    body = {"email": "new@acme.test", "password": PASSWORD, "metadata": {"note": "x" * 100_000}}
    for path in ("/user", "/user/auth"):
        assert nobody.post(path, body).status_code == 413
    assert platform.users.is_empty()
    assert nobody.post("/user", {**body, "metadata": {"note": "x"}}).status_code == 201
