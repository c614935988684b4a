"""Flows with a webhook, and the two doors to them: the WSGI ingress and the Flask route behind it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from flask import Flask
from werkzeug.test import EnvironBuilder

from engine.errors import Unavailable
from engine.model.log import LogQuery
from engine.ports import Query
from engine.settings import Settings
from engine.wiring import Platform
from tests.integration.api.conftest import User
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
def settings(settings: Settings, tmp_path: Path) -> Settings:
    for name, code in (("Outside", OUTSIDE), ("Asking", ASKING), ("Answering", ANSWERING)):
        place = tmp_path / "connectors/acme/shop/core" / name
        place.mkdir(parents=True)
        ports = {"inPorts": [{"name": "in", "schema": {"type": "object"}}], "outPorts": ["out"]}
        manifest = {"name": f"acme.shop.core.{name}", "webhook": name == "Asking", **ports}
        (place / "component.json").write_bytes(orjson.dumps(manifest))
        (place / "component.py").write_text(code)
    return replace(settings, webhook_timeout=2.0, webhook_upload_bytes=3_000_000)


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


FullDisk = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def full_disk(platform: Platform) -> FullDisk:
    """While it lasts, nothing can be settled."""

    def full(*_: Any) -> Any:
        raise Unavailable("headrace.db: the disk is full")

    @contextmanager
    def lasting() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as broken:
            broken.setattr(type(platform.bus), "settle", full)
            yield

    return lasting
