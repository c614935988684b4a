"""Webhook calls from outside, through both doors: the WSGI ingress and the Flask route behind it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import jwt
import orjson
import pytest
from flask import Flask
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder

from engine.errors import Unavailable
from engine.ports import LogQuery, Query, Where
from engine.settings import Settings
from engine.wiring import Platform
from tests.integration.api.conftest import User
from tests.integration.api.conftest import settings as base_settings
from workers.loop import Workers

TRIGGER = "appmixer.utils.http.WebhookTrigger"
SECRET = "a shared secret of enough length"
CID = "X-Headrace-Correlation-Id"

OUTSIDE = '''
import threading
from engine.sdk import Component, Context

GATE = threading.Event()
GATE.set()
CALLS = []


class Outside(Component):
    """Calls the outside world; waits while the test holds the gate."""

    def receive(self, context: Context) -> None:
        content = context.messages["in"].content
        CALLS.append(content)
        GATE.wait(10)
        context.send(content, "out")
'''
ASKING = '''
from engine.sdk import Component, Context


class Asking(Component):
    """Hands out its address; whoever calls it is answered."""

    effects = "state"

    def receive(self, context: Context) -> None:
        if "webhook" in context.messages:
            context.respond({"said": context.messages["webhook"].content["data"]})
        else:
            context.respond(context.webhook_url())
'''
ANSWERING = '''
from engine.sdk import Component, Context


class Answering(Component):
    """Answers twice, as its input says."""

    effects = "none"

    def receive(self, context: Context) -> None:
        content = context.messages["in"].content
        if content.get("bytes"):
            context.respond(b"bytes")
        context.respond({"n": 1}, content.get("status", 200), content.get("headers") or {})
        context.send(content, "out")
'''


@pytest.fixture
def settings(request: pytest.FixtureRequest, tmp_path: Any) -> Settings:
    made = base_settings.__wrapped__(tmp_path)  # type: ignore[attr-defined]
    for name, code in (("Outside", OUTSIDE), ("Asking", ASKING), ("Answering", ANSWERING)):
        place = tmp_path / "connectors/acme/shop/core" / name
        place.mkdir(parents=True)
        ports = {"inPorts": [{"name": "in", "schema": {"type": "object"}}], "outPorts": ["out"]}
        manifest = {"name": f"acme.shop.core.{name}", "webhook": name == "Asking", **ports}
        (place / "component.json").write_bytes(orjson.dumps(manifest))
        (place / "component.py").write_text(code)
    return replace(made, webhook_timeout=2.0, webhook_upload_bytes=3_000_000)


@pytest.fixture
def workers(platform: Platform) -> Iterator[Workers]:
    made = Workers(platform, ("steps", "indexer"))
    made.start()
    yield made
    made.stop(5)


@dataclass
class Got:
    status: int
    headers: list[tuple[str, str]]
    data: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.data)

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(found) <= 1 or name == "Vary", f"{name} is there {len(found)} times"
        return found[0] if found else None


@dataclass
class Door:
    """Calls an address by one of the two ways in."""

    wsgi: Callable[..., Any]

    def call(self, method: str, path: str, *, environ: dict[str, Any] | None = None, **options: Any) -> Got:
        builder = EnvironBuilder(path=path, method=method, **options)
        made = {**builder.get_environ(), **(environ or {})}
        builder.close()
        told: list[Any] = []
        parts = self.wsgi(made, lambda status, headers, _info=None: told.extend((status, headers)))
        data = b"".join(parts)
        if hasattr(parts, "close"):
            parts.close()
        return Got(int(told[0].split()[0]), told[1], data)


@pytest.fixture(params=["ingress", "route"])
def door(request: pytest.FixtureRequest, app: Flask) -> Door:
    if request.param == "ingress":
        return Door(app.wsgi_app)
    return Door(lambda environ, start: Flask.wsgi_app(app, environ, start))


@dataclass
class Shop:
    """Flows of one owner, made of a trigger and what follows it."""

    owner: User
    platform: Platform

    def flow(self, properties: dict[str, Any], *steps: tuple[str, dict[str, Any]], start: bool = True) -> str:
        """The path of the trigger's webhook; `steps` follow each other, each gets the whole call."""
        ids = [str(uuid.uuid4()) for _ in range(len(steps) + 1)]
        port = "request"
        flow: dict[str, Any] = {ids[0]: {"type": TRIGGER, "source": {}, "config": {"properties": properties}}}
        for n, (kind, fields) in enumerate(steps):
            text = orjson.dumps(fields).decode().replace("@call@", f"{{{{{{$.{ids[0]}.request}}}}}}")
            mapping = {"type": "json2new", "lambda": orjson.loads(text), "modifiers": {}}
            flow[ids[n + 1]] = {
                "type": kind,
                "source": {"in": {ids[n]: [port]}},
                "config": {"transform": {"in": {ids[n]: {port: mapping}}}} if fields else {},
            }
            port = "out"
        made = self.owner.post("/flows", {"flow": flow})
        assert made.status_code == 200, made.text
        self.flow_id = made.json["flowId"]
        self.ids = ids
        if start:
            started = self.owner.post(f"/flows/{self.flow_id}/coordinator", {"command": "start"})
            assert started.status_code == 200, started.text
        return f"/flows/{self.flow_id}/components/{ids[0]}"

    def showing(self, **properties: Any) -> str:
        """A flow that answers with the call as it sees it."""
        step = ("appmixer.utils.http.Response", {"body": "@call@"})
        return self.flow({"immediateResponse": False, **properties}, step)

    def stored(self) -> int:
        """Everything that calls leave behind."""
        documents, files = self.platform.documents, self.platform.files
        kept = sum(documents.count(name) for name in ("unprocessed", "webhook_keys", "timers", "payloads"))
        return kept + files.count(Query()) + self.platform.bus.depth()

    def executions(self) -> set[str]:
        return {record["correlationId"] for record in self.records(self.flow_id, 0)}

    def records(self, flow_id: str, count: int) -> list[dict[str, Any]]:
        query = LogQuery(flow_ids=(flow_id,), sort=(("gridTimestamp", 1),), size=1000)

        def found() -> list[dict[str, Any]]:
            return [hit for hit in self.platform.log_index.search(query).hits if hit.get("correlationId")]

        until(lambda: len(found()) >= count, f"{count} records")
        return found()


def until(check: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 15
    while not check():
        assert time.monotonic() < deadline, f"{what} did not come about"
        time.sleep(0.01)


@pytest.fixture
def shop(ann: User, platform: Platform) -> Shop:
    return Shop(ann, platform)


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
    door: Door, shop: Shop, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shop.showing()

    def full(*_: Any) -> Any:
        raise Unavailable("headrace.db: the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(type(platform.bus), "settle", full)
        for query in ("", "enqueueOnly=true"):
            got = door.call("POST", path, data=b"\0", content_type="image/png", query_string=query)
            assert (got.status, got.header("Retry-After")) == (503, "5")
    assert platform.files.count(Query()) == 0
    assert door.call("POST", path, data=b"\0", content_type="image/png").status == 200


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
    for nothing in ({"id": None}, {"id": {}}, {"id": True}, {}, "text"):
        assert not same(keyed(door, path, nothing), keyed(door, path, nothing))


def test_a_key_does_not_open_a_check(door: Door, shop: Shop) -> None:
    path = shop.showing(**HEADER)
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
    module.CALLS.clear()  # type: ignore[attr-defined]
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
    door: Door, shop: Shop, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shop.showing()

    def full(*_: Any) -> Any:
        raise Unavailable("headrace.db: the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(type(platform.bus), "settle", full)
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
    ({"bytes": True}, 500, {}),
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


def test_the_keys_of_unanswered_calls_are_known_after_a_restart(platform: Platform) -> None:
    far = platform.clock.now() + 10_000
    for n, more in enumerate(({"open": 1}, {"reply": {"status": 200, "body": 1, "headers": {}}})):
        doc = {"_id": f"k{n}", "flowId": "f", "correlationId": f"c{n}", "created": 0, "expires": far, **more}
        platform.documents.put("webhook_keys", doc)
    platform.webhooks._keys.recall()
    assert platform.cache.get("keyed:c0") == "k0"
    assert platform.cache.get("keyed:c1") is None
    assert platform.documents.count("webhook_keys", Query(where=(Where("open", "eq", 1),))) == 1
