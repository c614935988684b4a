"""Accounts and bindings over REST (rest-api.md §5, engine.md §7)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine import wiring
from engine.errors import StepError
from engine.ports import Clock
from engine.services.auth_modules import expiry
from engine.settings import Settings
from tests.integration.api.conftest import User

SHOP_AUTH = """
type = "apiKey"
auth = {
    "api_key": {"type": "password", "name": "Key", "tooltip": "", "required": True},
    "region": {"type": "text", "name": "Region", "tooltip": ""},
}
account_name_from_profile_info = "email"


def validate(context):
    if context.api_key == "bad":
        raise ValueError("the key is not known")
    return context.auth["api_key"] == "good"


def request_profile_info(context):
    if context.api_key == "anonymous":
        raise RuntimeError("who are you?")
    return {"email": f"{context.api_key}@shop.test"}
"""

MAIL_AUTH = """
type = "pwd"
calls = []


def validate(context):
    calls.append(context.auth["password"])
    if context.auth["password"] == "wrong":
        raise ValueError("wrong password")
    if context.auth["password"] == "once" and len(calls) > 1:
        raise ValueError("password expired")
    return {"token": f"token {len(calls)}", "expires": 3600}
"""


def write(folder: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else orjson.dumps(content))
    return folder


@pytest.fixture(name="settings")
def with_connectors(tmp_path: Path) -> Settings:
    component = {"inPorts": ["in"], "outPorts": ["out"]}
    folder = write(
        tmp_path / "connectors",
        {
            "acme/shop/service.json": {"name": "acme.shop", "label": "Shop", "icon": "data:,s", "category": "x"},
            "acme/shop/auth.py": SHOP_AUTH,
            "acme/shop/core/Buy/component.json": {
                "name": "acme.shop.core.Buy", "auth": {"service": "acme:shop"}, **component,
            },
            "acme/mail/service.json": {"name": "acme.mail", "label": "Mail", "category": "x"},
            "acme/mail/auth.py": MAIL_AUTH,
            "acme/mail/core/Send/component.json": {
                "name": "acme.mail.core.Send", "auth": {"service": "acme:mail"}, **component,
            },
            "acme/plain/service.json": {"name": "acme.plain", "label": "Plain", "category": "x"},
            "acme/plain/core/Do/component.json": {"name": "acme.plain.core.Do", **component},
        },
    )  # fmt: skip
    return Settings(data=tmp_path / "data", secret="a secret of the tests, long enough", connectors=folder)


def connect(user: User, **fields: Any) -> str:
    body = {"service": "acme:shop", "token": {"api_key": "good"}, **fields}
    answer = user.post("/accounts", body)
    assert answer.status_code == 200, answer.json
    return str(answer.json["accountId"])


def flow_with(user: User, *types: str) -> tuple[str, list[str]]:
    cids = [f"c{n}-{user.id}" for n in range(len(types))]
    flow = {cid: {"type": kind, "x": 0, "y": 0} for cid, kind in zip(cids, types, strict=True)}
    return str(user.post("/flows", {"name": "Sales", "flow": flow}).json["flowId"]), cids


def test_an_account_is_connected(ann: User) -> None:
    answer = ann.post("/accounts", {"service": "acme:shop", "token": {"api_key": "good", "region": "eu"}})
    account_id = answer.json["accountId"]
    assert answer.json == {
        "accountId": account_id, "name": "good@shop.test", "displayName": None, "service": "acme:shop",
        "userId": ann.id, "profileInfo": {"email": "good@shop.test"}, "revoked": False, "pre": {},
    }  # fmt: skip
    shown = {key: value for key, value in answer.json.items() if key != "pre"}
    assert ann.get(f"/accounts/{account_id}").json == {**shown, "icon": "data:,s", "label": "Shop"}
    assert ann.get("/accounts").json == [{**shown, "icon": "data:,s", "label": "Shop"}]


def test_given_names_and_profile_are_kept(ann: User) -> None:
    account_id = connect(ann, name="N", displayName="D", profileInfo={"a": 1})
    account = ann.get(f"/accounts/{account_id}").json
    assert (account["name"], account["displayName"], account["profileInfo"]) == ("N", "D", {"a": 1})
    assert ann.put(f"/accounts/{account_id}", {"displayName": "E"}).json == {}
    assert ann.get(f"/accounts/{account_id}").json["displayName"] == "E"
    assert ann.put(f"/accounts/{account_id}", {"displayName": None}).json == {}
    assert ann.get(f"/accounts/{account_id}").json["displayName"] is None


def test_token_and_profile_may_be_json_text(ann: User) -> None:
    account_id = connect(ann, token='{"api_key": "good"}', profileInfo='{"email": "x@y.test"}')
    assert ann.get(f"/accounts/{account_id}").json["name"] == "x@y.test"


def test_the_profile_is_asked_for_unless_told_otherwise(ann: User) -> None:
    body = {"service": "acme:shop", "token": {"api_key": "anonymous"}}
    refused = ann.post("/accounts", body)
    assert (refused.status_code, "who are you?" in refused.json["message"]) == (400, True)
    kept = ann.post("/accounts?requestProfileInfo=false", body).json
    assert (kept["profileInfo"], kept["name"]) == ({}, "shop")


def test_the_same_display_name_is_the_same_account(ann: User, platform: wiring.Platform) -> None:
    first = connect(ann, displayName="main")
    assert connect(ann, displayName="main", token={"api_key": "better"}) == first
    assert connect(ann, displayName="other") != first
    assert platform.accounts.resolve(first, ann.id)["api_key"] == "better"


def test_tokens_are_sealed_and_never_shown(ann: User, platform: wiring.Platform, settings: Settings) -> None:
    account_id = connect(ann, token={"api_key": "hunter-two"})
    shown = ann.get(f"/accounts/{account_id}").text + ann.get("/accounts").text
    assert "hunter-two" not in shown.replace("hunter-two@shop.test", "")
    stored = platform.documents.get("accounts", account_id)
    assert stored is not None
    assert "hunter-two" not in stored["token"]
    for path in ("/accounts?filter=token:~g", "/accounts?sort=token:1", "/accounts?filter=token.x:1"):
        assert ann.get(path).status_code == 400
    assert ann.get("/accounts?projection=token,name").json == [{"name": "hunter-two@shop.test"}]


BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "service"),
    ({"service": "acme:shop"}, "token"),
    ({"service": "acme:none", "token": {}}, "acme:none"),
    ({"service": "acme:plain", "token": {}}, "acme:plain"),
    ({"service": "../../acme:shop", "token": {}}, "service"),
    ({"service": "acme:..:shop", "token": {}}, "service"),
    ({"service": "acme:shop", "token": "{"}, "token"),
    ({"service": "acme:shop", "token": "[]"}, "token"),
    ({"service": "acme:shop", "token": {}}, "token.api_key"),
    ({"service": "acme:shop", "token": {"api_key": ""}}, "token.api_key"),
    ({"service": "acme:mail", "token": {"username": "u"}}, "token.password"),
    ({"service": "acme:shop", "token": {"api_key": "bad"}}, "the key is not known"),
    ({"service": "acme:shop", "token": {"api_key": "x" * 70_000}}, "bytes"),
    ({"service": "acme:shop", "token": {"api_key": "good"}, "name": "x" * 256}, "name"),
    ({"service": "acme:shop", "token": {"api_key": "good"}, "profileInfo": "[1]"}, "profileInfo"),
]


@pytest.mark.parametrize(("body", "says"), BAD)
def test_bad_accounts_are_refused(ann: User, body: dict[str, Any], says: str) -> None:
    answer = ann.post("/accounts", body)
    assert answer.status_code == 400
    assert says in answer.json["message"]
    assert ann.get("/accounts").json == []


def test_lists_take_the_list_parameters(ann: User) -> None:
    for name in ("b", "a", "c"):
        connect(ann, name=name)
    ann.post("/accounts", {"service": "acme:mail", "token": {"username": "u", "password": "p"}})
    assert [a["name"] for a in ann.get("/accounts?filter=service:acme:shop&sort=name:1").json] == ["a", "b", "c"]
    assert [a["service"] for a in ann.get("/accounts?filter=service:!acme:shop").json] == ["acme:mail"]
    assert [a["name"] for a in ann.get("/accounts?pattern=^A$").json] == ["a"]


def test_a_step_is_bound_and_unbound(ann: User, platform: wiring.Platform) -> None:
    account_id = connect(ann)
    flow_id, (buy, plain) = flow_with(ann, "acme.shop.core.Buy", "acme.plain.core.Do")
    assert ann.get(f"/accounts/flow/{flow_id}").json == {buy: None}
    told: list[str] = []
    platform.cache.subscribe("flow-changed", told.append)
    assert ann.put(f"/auth/component/{buy}/{account_id}").json == {"accountId": account_id, "componentId": buy}
    assert told == [flow_id]
    assert ann.get(f"/accounts/flow/{flow_id}").json == {buy: account_id}
    assert ann.get(f"/accounts/{account_id}/flows").json == [{"flowId": flow_id, "name": "Sales"}]
    assert ann.delete(f"/auth/component/{buy}").json == {"componentId": buy}
    assert ann.get(f"/accounts/flow/{flow_id}").json == {buy: None}
    assert ann.get(f"/accounts/{account_id}/flows").json == []
    assert ann.get(f"/accounts/{account_id}").status_code == 200
    assert ann.put(f"/auth/component/{buy}", {"accountId": account_id}).json["accountId"] == account_id
    assert ann.put(f"/auth/component/{buy}").status_code == 400
    wrong = ann.put(f"/auth/component/{plain}x/{account_id}")
    assert (wrong.status_code, wrong.json["message"]) == (404, "Component not found in any of your flows")
    assert ann.delete("/auth/component/a.b").status_code == 404


def test_a_step_takes_accounts_of_its_own_service_only(ann: User) -> None:
    account_id = connect(ann)
    _, (send,) = flow_with(ann, "acme.mail.core.Send")
    answer = ann.put(f"/auth/component/{send}/{account_id}")
    assert (answer.status_code, "acme:mail" in answer.json["message"]) == (400, True)


def test_a_component_id_in_several_flows_is_bound_in_all(ann: User, stranger: User, platform: wiring.Platform) -> None:
    """Ids are chosen by clients: a flow that was saved under a second id has the same ones."""
    account_id = connect(ann)
    first, (buy,) = flow_with(ann, "acme.shop.core.Buy")
    second, _ = flow_with(ann, "acme.shop.core.Buy")
    theirs = stranger.post("/flows", {"flow": {buy: {"type": "acme.shop.core.Buy"}}}).json["flowId"]
    mailing = ann.post("/flows", {"flow": {buy: {"type": "acme.mail.core.Send"}}}).json["flowId"]
    told: list[str] = []
    platform.cache.subscribe("flow-changed", told.append)
    assert ann.put(f"/auth/component/{buy}/{account_id}").status_code == 200
    assert [ann.get(f"/accounts/flow/{flow}").json for flow in (first, second)] == [{buy: account_id}] * 2
    assert ann.get(f"/accounts/flow/{mailing}").json == {buy: None}, "a step of another service has no use for it"
    assert stranger.get(f"/accounts/flow/{theirs}").json == {buy: None}
    assert sorted(told) == sorted([first, second])
    assert ann.delete(f"/auth/component/{buy}").status_code == 200
    assert [ann.get(f"/accounts/flow/{flow}").json for flow in (first, second)] == [{buy: None}] * 2


def test_a_flow_is_saved_with_fitting_accounts_only(ann: User) -> None:
    shop, mail = connect(ann), connect(ann, service="acme:mail", token={"username": "a", "password": "b"})
    flow_id, (buy, plain) = flow_with(ann, "acme.shop.core.Buy", "acme.plain.core.Do")
    flow = ann.get(f"/flows/{flow_id}").json["flow"]
    for refused in (ann.put(f"/flows/{flow_id}", {"accounts": {buy: mail}}),
                    ann.post("/flows", {"flow": flow, "accounts": {buy: mail}})):  # fmt: skip
        assert refused.status_code == 400
        assert refused.json["message"] == f"accounts.{buy}: this step needs an account of acme:shop, not of acme:mail"
    assert ann.get(f"/accounts/flow/{flow_id}").json == {buy: None}
    assert ann.put(f"/flows/{flow_id}", {"accounts": {buy: shop, plain: mail}}).status_code == 200
    other = {**flow, buy: {**flow[buy], "type": "acme.mail.core.Send"}}
    assert ann.put(f"/flows/{flow_id}", {"flow": other, "accounts": {buy: shop}}).status_code == 400
    assert ann.put(f"/flows/{flow_id}", {"flow": other, "accounts": {buy: mail}}).status_code == 200


def test_deleting_an_account_stops_what_uses_it(
    ann: User, platform: wiring.Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    account_id, other = connect(ann), connect(ann)
    flow_id, (buy,) = flow_with(ann, "acme.shop.core.Buy")
    idle = str(ann.post("/flows", {"flow": {"z": {"type": "acme.shop.core.Buy"}}}).json["flowId"])
    ann.put(f"/auth/component/{buy}/{account_id}")
    ann.put(f"/auth/component/z/{other}")
    platform.documents.update("flows", flow_id, {"stage": "running"})
    platform.documents.update("flows", idle, {"stage": "running"})
    stopped: list[str] = []
    monkeypatch.setattr(platform.accounts, "_stop_flow", stopped.append)
    assert ann.delete(f"/accounts/{account_id}").json == {"accountId": account_id}
    assert stopped == [flow_id]
    assert ann.get(f"/accounts/flow/{flow_id}").json == {buy: None}
    assert ann.get(f"/accounts/flow/{idle}").json == {"z": other}
    assert ann.get(f"/accounts/{account_id}").status_code == 404


OTHERS = [
    ("GET", "/accounts/{account}", None),
    ("PUT", "/accounts/{account}", {"displayName": "mine"}),
    ("DELETE", "/accounts/{account}", None),
    ("GET", "/accounts/{account}/flows", None),
    ("PUT", "/auth/component/{cid}/{account}", None),
    ("DELETE", "/auth/component/{cid}", None),
    ("GET", "/accounts/flow/{flow}", None),
]


@pytest.mark.parametrize(("method", "path", "body"), OTHERS)
def test_what_is_not_yours_does_not_exist(
    ann: User, stranger: User, nobody: User, method: str, path: str, body: Any
) -> None:
    account_id = connect(ann, displayName="D")
    flow_id, (buy,) = flow_with(ann, "acme.shop.core.Buy")
    ann.put(f"/auth/component/{buy}/{account_id}")
    path = path.format(account=account_id, cid=buy, flow=flow_id)
    answer = stranger.call(method, path, body)
    assert answer.status_code == 404
    assert "good" not in answer.text
    assert nobody.call(method, path, body).status_code == 401
    assert ann.get(f"/accounts/{account_id}").json["displayName"] == "D"
    assert ann.get(f"/accounts/flow/{flow_id}").json == {buy: account_id}


def test_neither_anothers_account_nor_anothers_step_can_be_bound(ann: User, stranger: User) -> None:
    mine, theirs = connect(ann), connect(stranger)
    _, (buy,) = flow_with(ann, "acme.shop.core.Buy")
    assert ann.put(f"/auth/component/{buy}/{theirs}").status_code == 404
    assert stranger.put(f"/auth/component/{buy}/{theirs}").status_code == 404
    assert ann.put(f"/auth/component/{buy}/{mine}").status_code == 200


def test_a_step_sees_the_fields_of_its_account(ann: User, stranger: User, platform: wiring.Platform) -> None:
    account_id = connect(ann, token={"api_key": "good", "region": "eu"})
    assert platform.accounts.resolve(account_id, ann.id) == {
        "api_key": "good", "region": "eu", "profileInfo": {"email": "good@shop.test"}, "userId": ann.id,
    }  # fmt: skip
    for account, user in ((account_id, stranger.id), ("none", ann.id)):
        with pytest.raises(StepError, match="gone") as caught:
            platform.accounts.resolve(account, user)
        assert caught.value.retry_hint is False
    platform.documents.update("accounts", account_id, {"revoked": True})
    with pytest.raises(StepError, match="revoked"):
        platform.accounts.resolve(account_id, ann.id)


@pytest.fixture
def later(platform: wiring.Platform, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the accounts' clock run ahead by so many seconds."""
    real: Clock = platform.clock

    def move(seconds: int) -> None:
        class Ahead:
            def now(self) -> int:
                return real.now() + seconds * 1000

        monkeypatch.setattr(platform.accounts, "_clock", Ahead())

    return move


def test_a_password_token_is_renewed_before_it_ends(
    ann: User, platform: wiring.Platform, later: Callable[[int], None]
) -> None:
    account_id = connect(ann, service="acme:mail", token={"username": "u", "password": "p"})
    first = platform.accounts.resolve(account_id, ann.id)
    later(3000)
    assert platform.accounts.resolve(account_id, ann.id)["token"] == first["token"]
    later(3550)
    renewed = platform.accounts.resolve(account_id, ann.id)
    assert renewed["token"] != first["token"]
    assert renewed["expires"] > first["expires"]
    assert platform.accounts.resolve(account_id, ann.id)["token"] == renewed["token"]


def test_a_password_that_is_no_longer_taken_fails_the_step(
    ann: User, platform: wiring.Platform, later: Callable[[int], None]
) -> None:
    account_id = connect(ann, service="acme:mail", token={"username": "u", "password": "once"})
    later(4000)
    with pytest.raises(StepError, match="password expired") as caught:
        platform.accounts.resolve(account_id, ann.id)
    assert caught.value.code == "401"


@pytest.mark.parametrize(
    ("given", "ms"),
    [
        (60, 1_700_000_060_000),
        ("60", 1_700_000_060_000),
        (1_800_000_000, 1_800_000_000_000),
        (1_800_000_000_000, 1_800_000_000_000),
        ("2027-01-15T08:00:00Z", 1_800_000_000_000),
        ("soon", None),
        (None, None),
        (-5, None),
        (float("nan"), None),
        (float("inf"), None),
    ],
)
def test_ends_of_tokens_are_understood(given: Any, ms: int | None) -> None:
    assert expiry(given, 1_700_000_000_000) == ms
