"""One call each, by both doors: bodies, checks, web pages, files, hostile input."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
from dataclasses import dataclass, field
from typing import Any

import jwt
import orjson
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from engine.ports import Delivery, Query
from engine.wiring import Platform
from tests.integration.api.conftest import User
from tests.integration.api.webhooks.conftest import CID, SECRET, Door, FullDisk, Shop, until
from workers.loop import Workers

# -- the table: one call each


@dataclass
class Case:
    name: str
    status: int
    properties: dict[str, Any] = field(default_factory=dict)
    method: str = "POST"
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    kind: str | None = None
    environ: dict[str, Any] = field(default_factory=dict)
    sees: dict[str, Any] = field(default_factory=dict)
    says: str = ""
    has: dict[str, str | None] = field(default_factory=dict)


def signed(body: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


JSON = "application/json"
HEADER = {"check": "header", "checkSecret": SECRET}
BASIC = {"check": "basic", "checkUser": "me", "checkSecret": SECRET}
TOKEN = {"check": "jwt", "checkSecret": SECRET}
HMAC = {"check": "hmac", "checkSecret": SECRET, "checkPrefix": "sha256="}
BEARER = "Bearer " + jwt.encode({"sub": "me"}, SECRET, "HS256")
ORIGINS = {"allowedOrigins": "https://shop.example, https://other.example"}
SHOP = {"Origin": "https://shop.example"}
PREFLIGHT = {**SHOP, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, x-a"}
NO_CORS: dict[str, str | None] = {"Access-Control-Allow-Origin": None}
FORM = b'--X\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--X--\r\n'

CASES = [
    Case("json", 200, body=b'{"a": 1}', kind=JSON, sees={"data": {"a": 1}, "method": "POST"}),
    Case("json broken", 200, body=b'{"a": ', kind=JSON, sees={"data": '{"a": '}),
    Case("json too deep", 200, body=b"[" * 300 + b"]" * 300, kind=JSON, sees={"data": "[" * 300 + "]" * 300}),
    Case("json half surrogate", 200, body=b'"\\ud800"', kind=JSON, sees={"data": '"\\ud800"'}),
    Case("not utf-8", 200, body=b"\xe4", kind="text/plain", sees={"data": "\ufffd"}),
    Case("nothing", 200, method="GET", sees={"data": {}, "query": {}, "method": "GET"}),
    Case("form", 200, body=b"a=1&b=%C3%A4", kind="application/x-www-form-urlencoded",
         sees={"data": {"a": "1", "b": "ä"}}),
    Case("multipart", 200, body=FORM, kind="multipart/form-data; boundary=X", sees={"data": {"a": "1"}}),
    Case("multipart broken", 400, body=FORM[:-10], kind="multipart/form-data; boundary=X", says="multipart form"),
    Case("multipart without boundary", 400, body=FORM, kind="multipart/form-data", says="multipart form"),
    Case("every method", 200, method="PATCH", body=b"x", kind="text/plain", sees={"method": "PATCH", "data": "x"}),
    Case("unknown method", 405, method="PROPFIND", has={"Allow": "GET, POST, PUT, DELETE, PATCH, HEAD, OPTIONS"}),
    Case("head", 200, method="HEAD", has={CID: None}),
    Case("head behind a check", 200, HEADER, method="HEAD"),
    Case("options", 204, method="OPTIONS", has={"Allow": "GET, POST, PUT, DELETE, PATCH, HEAD, OPTIONS", **NO_CORS}),
    Case("too large", 413, body=b"x" * 1_048_577, kind="text/plain", says="at most 1048576"),
    Case("upload too large", 413, body=b"x" * 3_000_001, kind="image/png", says="at most 3000000"),
    Case("wrong length", 400, body=b"x", environ={"CONTENT_LENGTH": "-5"}, says="Content-Length"),
    Case("ends too early", 400, body=b"x", environ={"CONTENT_LENGTH": "50"}, says="ended after 1 of 50"),
    Case("chunked", 200, body=b"abc", kind="text/plain",
         environ={"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}, sees={"data": "abc"}),
    Case("chunked too large", 413, body=b"x" * 1_048_577, kind="text/plain",
         environ={"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}),
    Case("query", 200, query="a=1&b=2&b=3&c=", sees={"query": {"a": "1", "b": ["2", "3"], "c": ""}}),
    Case("query broken", 200, environ={"QUERY_STRING": "a=%zz&b=%ff&%&=&c=\xc3\xa4"},
         sees={"query": {"a": "%zz", "b": "\ufffd", "%": "", "": "", "c": "ä"}}),
    Case("query huge", 200, query="a=" + "x" * 200_000, sees={"query": {"a": "x" * 200_000}}),
    Case("query of many", 400, query="a&" * 1001, says="1000 fields"),
    Case("depth of a strange spelling", 200, headers={"X-Headrace-Depth": "\u00b2"}),
    Case("depth beyond all", 400, headers={"X-Headrace-Depth": "9" * 5000}, says="circle"),
    Case("duplicate headers", 200, headers={"X-A": "1,2"}, sees={"headers.x-a": "1,2"}),
    Case("correlation id of nobody", 200, query="correlationId=somebody-elses", has={CID: "!somebody-elses"}),
    Case("correlation ids", 200, query="correlationId=a&correlationId=b"),
    Case("enqueued", 202, query="enqueueOnly=true", body=b"{}", kind=JSON),
    # checks
    Case("header", 200, HEADER, headers={"X-Api-Key": SECRET}, sees={"headers.x-api-key": None}),
    Case("header wrong", 401, HEADER, headers={"X-Api-Key": "x"}, says="x-api-key does not hold the secret"),
    Case("header missing", 401, HEADER, says="x-api-key is missing"),
    Case("header before the body", 401, HEADER, body=b"x", environ={"CONTENT_LENGTH": "x"}),
    Case("basic", 200, BASIC, headers=basic("me", SECRET), sees={"headers.authorization": None}),
    Case("basic wrong", 401, BASIC, headers=basic("me", "x"), says="user name or password",
         has={"WWW-Authenticate": 'Basic realm="webhook", charset="UTF-8"'}),
    Case("token", 200, TOKEN, headers={"Authorization": BEARER},
         sees={"claims": {"sub": "me"}, "headers.authorization": None}),
    Case("token wrong", 401, TOKEN, headers={"Authorization": BEARER + "x"}, has={"WWW-Authenticate": "Bearer"}),
    Case("signature", 200, HMAC, body=b'{ "a":1}', kind=JSON,
         headers={"X-Signature": "sha256=" + signed(b'{ "a":1}')}, sees={"data": {"a": 1}}),
    Case("signature of another body", 401, HMAC, body=b'{"a":1}', kind=JSON,
         headers={"X-Signature": "sha256=" + signed(b'{ "a":1}')}, says="does not fit the body"),
    Case("signature of a large upload", 200, HMAC, body=b"x" * 2_000_000, kind="image/png",
         headers={"X-Signature": "sha256=" + signed(b"x" * 2_000_000)}),
    Case("signature of nothing", 200, HMAC, method="GET", headers={"X-Signature": "sha256=" + signed(b"")}),
    # the raw body
    Case("raw text", 200, {"rawBody": "text"}, body=b'{ "a":1}', kind=JSON, sees={"rawBody": '{ "a":1}'}),
    Case("raw base64", 200, {"rawBody": "base64"}, body=b"\xff\0", kind="image/png", sees={"rawBody": "/wA="}),
    Case("raw not asked for", 200, body=b"{}", kind=JSON, sees={"rawBody": None}),
    Case("raw too large", 413, {"rawBody": "text"}, body=b"x" * 1_048_577, kind="image/png"),
    # web pages
    Case("cors", 200, ORIGINS, headers=SHOP, has={"Access-Control-Allow-Origin": "https://shop.example",
         "Vary": "Origin", "Access-Control-Expose-Headers": f"{CID}, Retry-After"}),
    Case("cors of others", 200, ORIGINS, headers={"Origin": "https://evil.example"}, has={**NO_CORS, "Vary": "Origin"}),
    Case("cors of nobody", 200, ORIGINS, has=NO_CORS),
    Case("cors for all", 200, {"allowedOrigins": "*"}, headers=SHOP, has={"Access-Control-Allow-Origin": "*"}),
    Case("no cors", 200, headers=SHOP, has=NO_CORS),
    Case("preflight", 204, {**ORIGINS, **HEADER}, method="OPTIONS", headers=PREFLIGHT, has={
        "Access-Control-Allow-Origin": "https://shop.example", "Access-Control-Max-Age": "600",
        "Access-Control-Allow-Headers": "authorization, x-a",
        "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE, PATCH, HEAD"}),
    Case("preflight of others", 204, ORIGINS, method="OPTIONS", headers={**PREFLIGHT, "Origin": "https://x"},
         has=NO_CORS),
    Case("refusals are told to pages too", 401, {**ORIGINS, **HEADER}, headers=SHOP,
         has={"Access-Control-Allow-Origin": "https://shop.example"}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_calls(case: Case, door: Door, shop: Shop) -> None:
    path = shop.showing(**case.properties)
    before = shop.stored()
    got = door.call(
        case.method, path, query_string=case.query or None, headers=list(case.headers.items()), data=case.body,
        content_type=case.kind, environ=case.environ,
    )  # fmt: skip
    assert got.status == case.status, got.data[:300]
    for name, value in case.has.items():
        if value is not None and value.startswith("!"):
            assert got.header(name) not in (None, value[1:])
        elif name in ("Allow", "Vary"):  # sets; the frameworks around add to them
            assert set((value or "").split(", ")) <= set((got.header(name) or "").split(", "))
        else:
            assert got.header(name) == value
    if case.says:
        assert case.says in got.json["message"]
    for place, value in case.sees.items():
        name, _, below = place.partition(".")
        seen = got.json.get(name)
        assert (seen.get(below) if below else seen) == value
    if got.status >= 400:
        assert shop.stored() == before, "a refused call leaves nothing behind"
        if got.status != 405:
            assert got.json["statusCode"] == got.status
    elif case.method not in ("HEAD", "OPTIONS"):
        assert got.header(CID)
    assert int(got.header("Content-Length") or 0) == (0 if case.method == "HEAD" else len(got.data))
    assert SECRET.encode() not in got.data


def test_both_doors_are_described_alike(nobody: User) -> None:
    described = nobody.get("/openapi.json").json["paths"]["/flows/{flow_id}/components/{component_id}"]
    assert set(described) == {"get", "post", "put", "delete", "patch"}


@pytest.mark.parametrize("method", ["POST", "HEAD", "OPTIONS"])
def test_targets_that_are_not_there(door: Door, shop: Shop, method: str) -> None:
    path = shop.flow({}, start=False)
    for wrong in (path, "/flows/none/components/x", "/flows/%00%ff/components/%27", f"{path}x"):
        assert door.call(method, wrong).status == 404
    assert "is stopped: start it first" in door.call("POST", path).json["message"]
    started = shop.owner.post(f"/flows/{shop.flow_id}/coordinator", {"command": "start"})
    assert started.status_code == 200
    assert door.call(method, path).status in (200, 204)
    assert "no component" in door.call("POST", f"{path}x").json["message"]
    shop.owner.post(f"/flows/{shop.flow_id}/coordinator", {"command": "stop"})
    assert door.call(method, path).status == 404


def test_a_flow_with_a_wrong_check_does_not_start_and_lets_nobody_in(door: Door, shop: Shop) -> None:
    shop.flow({"check": "hmac"}, start=False)
    refused = shop.owner.post(f"/flows/{shop.flow_id}/coordinator", {"command": "start"})
    assert refused.status_code == 400
    assert refused.json["details"][0]["path"] == f"flow.{shop.ids[0]}.config.properties.checkSecret"
    good = shop.flow(HEADER)
    flow = shop.owner.get(f"/flows/{shop.flow_id}").json["flow"]
    del flow[shop.ids[0]]["config"]["properties"]["checkSecret"]
    saved = shop.owner.put(f"/flows/{shop.flow_id}?forceUpdate=true", {"flow": flow})
    assert saved.status_code == 200
    got = door.call("POST", good, headers={"X-Api-Key": SECRET})
    assert (got.status, got.header("Retry-After")) == (503, "5")
    assert "checkSecret is missing" in got.json["message"]


def test_settings_may_use_the_flows_variables_and_change_while_it_runs(door: Door, shop: Shop) -> None:
    path = shop.showing(check="header", checkSecret="{{{g_flowId}}}")
    assert door.call("POST", path, headers={"X-Api-Key": shop.flow_id}).status == 200
    flow = shop.owner.get(f"/flows/{shop.flow_id}").json["flow"]
    flow[shop.ids[0]]["config"]["properties"]["checkSecret"] = "another"
    shop.owner.put(f"/flows/{shop.flow_id}?forceUpdate=true", {"flow": flow})
    assert door.call("POST", path, headers={"X-Api-Key": shop.flow_id}).status == 401
    assert door.call("POST", path, headers={"X-Api-Key": "another"}).status == 200


# -- files


def test_files_become_the_owners(door: Door, shop: Shop, platform: Platform, bob: User) -> None:
    path = shop.showing()
    body = (
        b'--X\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
        b'--X\r\nContent-Disposition: form-data; name="f"; filename="../../etc/pass\x01wd"\r\n'
        b"Content-Type: text/csv\r\n\r\na,b\r\n"
        b'--X\r\nContent-Disposition: form-data; name="f"; filename=".."\r\n\r\n\0\r\n--X--\r\n'
    )
    got = door.call("POST", path, data=body, content_type="multipart/form-data; boundary=X").json["data"]
    first, second = got["f"]
    assert got["note"] == "hello"
    assert (first["filename"], first["contentType"], first["length"]) == ("passwd", "text/csv", 3)
    assert second["filename"] == "file"
    assert first["metadata"] | {"fileId": ""} == {
        "userId": shop.owner.id, "originFlowId": shop.flow_id, "fileId": "",
    }  # fmt: skip
    assert shop.owner.get(f"/files/{first['fileId']}").data == b"a,b"
    assert bob.get(f"/files/{first['fileId']}").status_code == 404
    whole = door.call("PUT", path, data=b"\x89PNG" * 300_000, content_type="image/png").json["data"]
    assert (whole["filename"], whole["length"]) == ("body.png", 1_200_000)
    assert platform.files.count(Query()) == 3


def test_files_of_a_call_that_could_not_be_stored_are_gone(
    door: Door, shop: Shop, platform: Platform, full_disk: FullDisk
) -> None:
    path = shop.showing()
    with full_disk():
        for query in ("", "enqueueOnly=true"):
            got = door.call("POST", path, data=b"\0", content_type="image/png", query_string=query)
            assert (got.status, got.header("Retry-After")) == (503, "5")
    assert platform.files.count(Query()) == 0
    assert door.call("POST", path, data=b"\0", content_type="image/png").status == 200


# -- whose execution


def test_a_call_goes_on_only_with_an_execution_that_waits_for_it(
    door: Door, shop: Shop, workers: Workers, bob: User
) -> None:
    path = shop.flow({"immediateResponse": False}, ("acme.shop.core.Asking", {"x": 1}))
    url = door.call("POST", path, json={}).data.decode()
    waiting = url.partition("correlationId=")[2]
    bound = url[url.index("/flows/") :]
    others = Shop(bob, shop.platform)
    theirs = others.showing()
    for query in (f"correlationId={waiting}", "correlationId=" + "x" * 5000, "correlationId=%00"):
        got = door.call("POST", theirs, json={}, query_string=query)
        assert got.status == 200
        assert got.header(CID) != waiting
        assert orjson.loads(got.data)["query"] == {}
    assert door.call("POST", f"{path}?correlationId={waiting}", json={}).header(CID) != waiting
    answers = [door.call("POST", bound, json={"n": n}) for n in range(2)]
    assert [a.json for a in answers] == [{"said": {"n": 0}}, {"said": {"n": 1}}]
    assert {a.header(CID) for a in answers} == {waiting}


# -- anything at all


LATIN = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=30)


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS", "TRACE", "\xff"]),
    body=st.binary(max_size=60),
    kind=LATIN,
    length=st.one_of(st.none(), LATIN),
    query=LATIN,
    headers=st.dictionaries(
        st.sampled_from(["IDEMPOTENCY_KEY", "ORIGIN", "X_HEADRACE_DEPTH", "TRANSFER_ENCODING", "COOKIE", "X_A"]), LATIN
    ),
)
def test_any_call_is_answered(door: Door, shop: Shop, **call: Any) -> None:
    if not hasattr(shop, "flow_id"):
        shop.path = shop.showing(**ORIGINS)  # type: ignore[attr-defined]
    environ = {
        "REQUEST_METHOD": call["method"], "CONTENT_TYPE": call["kind"], "QUERY_STRING": call["query"],
        "wsgi.input": io.BytesIO(call["body"]), **{f"HTTP_{name}": text for name, text in call["headers"].items()},
        "CONTENT_LENGTH": str(len(call["body"])) if call["length"] is None else call["length"],
    }  # fmt: skip
    got = door.call("POST", shop.path, environ=environ)  # type: ignore[attr-defined]
    assert got.status in (200, 202, 204, 400, 405, 413), got.data
    assert all("\n" not in name + value for name, value in got.headers)


def test_injected_messages_carry_how_deep_they_are_nested(shop: Shop, platform: Platform) -> None:
    """Flows that send each other messages by way of the API end like those that call each other's webhooks."""
    shop.flow({}, ("appmixer.utils.http.Response", {"body": "@call@"}))
    path, body = f"/flows/{shop.flow_id}", {"componentId": shop.ids[1], "inputPort": "in", "content": {}}
    refused = shop.owner.post(path, body, headers={"X-Headrace-Depth": "50"})
    assert (refused.status_code, "circle" in refused.json["message"]) == (400, True)
    assert platform.bus.depth() == 0
    assert shop.owner.post(path, body, headers={"X-Headrace-Depth": "49"}).status_code == 200
    taken: list[Delivery] = []
    platform.bus.consume(taken.append, 1)
    until(lambda: taken, "the message")
    platform.bus.stop_consuming()
    assert taken[0].message.depth == 49
