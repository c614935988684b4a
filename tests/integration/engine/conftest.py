"""A running engine on its embedded adapters, with components made by the tests and a clock they move."""

from __future__ import annotations

import textwrap
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine import wiring
from engine.model.log import LogQuery
from engine.ports import Query, Where
from engine.rules.acl import Caller
from engine.services.outcome import Reply
from engine.services.webhooks import WebhookRequest
from engine.settings import Settings
from workers.loop import Workers

LIMIT = 40.0


class FakeClock:
    def __init__(self) -> None:
        self.ms = 1_790_000_000_000

    def now(self) -> int:
        return self.ms


def until(check: Callable[[], Any], what: str = "the expected state") -> Any:
    """The first true value of `check`; fails after LIMIT seconds."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(0.01)
    raise AssertionError(f"{what} did not come about within {LIMIT:g} s")


@dataclass
class Lab:
    """`component` defines types before `open`; flows are {name: step} with names for ids."""

    folder: Path
    clock: FakeClock = field(default_factory=FakeClock)
    options: dict[str, Any] = field(default_factory=dict)
    platform: wiring.Platform = field(init=False)
    workers: Workers = field(init=False)
    caller: Caller = field(init=False)
    is_open: bool = False

    def component(self, name: str, code: str, **manifest: Any) -> str:
        """Define `lab.core.<name>`; `code` is the class body. Returns the type."""
        place = self.folder / "connectors" / "test" / "lab" / "core" / name
        place.mkdir(parents=True, exist_ok=True)
        given = {"name": f"test.lab.core.{name}", "inPorts": ["in"], "outPorts": ["out"], **manifest}
        (place / "component.json").write_bytes(orjson.dumps(given))
        body = textwrap.indent(textwrap.dedent(code).strip(), "    ")
        source = f"import time\nfrom engine.sdk import *\n\nclass {name}(Component):\n{body}\n"
        (place / "component.py").write_text(source)
        return f"test.lab.core.{name}"

    def module_file(self, name: str, text: str) -> None:
        place = self.folder / "connectors" / "test" / "lab" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def open(self, before: Callable[[wiring.Platform], object] = lambda _: None, *, start: bool = True) -> None:
        """Build the platform and start its workers; `before` is called between the two."""
        settings = Settings(
            data=self.folder / "data",
            connectors=self.folder / "connectors",
            secret="lab-secret-0123456789",
            **{"step_threads": 8, "webhook_timeout": 1.0, **self.options},
        )
        self.platform = wiring.build(settings, clock=self.clock)
        before(self.platform)
        self.workers = Workers(self.platform, ("steps", "indexer") if start else ())
        self.workers.start()
        users = self.platform.users
        found = users.find("owner@example.com")
        user = found or users.create_first_admin({"email": "owner@example.com", "password": "correct horse"})
        scope = frozenset(["user", "admin"])
        self.caller = Caller(user["_id"], "owner@example.com", "owner@example.com", scope)
        self.is_open = True

    def close(self) -> None:
        if self.is_open:
            self.workers.stop(5)
            self.platform.close()
            self.is_open = False

    # -- flows

    def flow(self, steps: dict[str, dict[str, Any]], *, start: bool = True) -> str:
        """Save (and start) a flow whose links are given as {"from": {"in": {name: port}}} under `source`."""
        ids = {name: str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.folder}{name}{time.time_ns()}")) for name in steps}
        text = orjson.dumps(steps).decode()
        for name, cid in ids.items():
            text = text.replace(f"@{name}@", cid)
        flow = {ids[name]: step for name, step in orjson.loads(text).items()}
        self.ids = ids
        record = self.platform.flows.create({"name": "lab", "flow": flow}, self.caller)
        if start:
            self.platform.lifecycle.start(record["_id"])
        return str(record["_id"])

    def post(self, flow_id: str, name: str, data: Any = None, **options: Any) -> Reply:
        """Call the webhook of the step `name`."""
        request = WebhookRequest("POST", "lab", options.pop("headers", {}), options.pop("query", {}), data, **options)
        return self.platform.webhooks.accept(flow_id, self.ids[name], request).reply

    # -- what happened

    def log(self, flow_id: str, name: str | None = None) -> list[dict[str, Any]]:
        query = f'componentId:"{self.ids[name]}"' if name else ""
        page = self.platform.log_index.search(
            LogQuery(query, flow_ids=(flow_id,), size=5000, sort=(("gridTimestamp", 1), ("_id", 1)))
        )
        return page.hits

    def outputs(self, flow_id: str, name: str, count: int = 1) -> list[Any]:
        """Contents the step emitted, once there are `count` of them."""

        def found() -> list[Any] | None:
            hits = [orjson.loads(h["msg"]) for h in self.log(flow_id, name) if h["portType"] == "out"]
            return hits if len(hits) >= count else None

        return list(until(found, f"{count} outputs of {name}"))

    def inputs(self, flow_id: str, name: str, count: int = 1) -> list[Any]:
        def found() -> list[Any] | None:
            hits = [h for h in self.log(flow_id, name) if h["portType"] == "in" and h["severity"] == "info"]
            return [orjson.loads(h["msg"]) for h in hits] if len(hits) >= count else None

        return list(until(found, f"{count} inputs of {name}"))

    def errors(self, flow_id: str, name: str, count: int = 1) -> list[dict[str, Any]]:
        """Log records of failed tries of a step, once there are `count` of them."""

        def found() -> list[dict[str, Any]] | None:
            hits = [h for h in self.log(flow_id, name) if h["severity"] == "error"]
            return hits if len(hits) >= count else None

        return list(until(found, f"{count} errors of {name}"))

    def unprocessed(self, flow_id: str, count: int = 1) -> list[dict[str, Any]]:
        query = Query(where=(Where("flowId", "eq", flow_id),))

        def found() -> list[dict[str, Any]] | None:
            docs = self.platform.documents.find("unprocessed", query)
            return docs if len(docs) >= count else None

        return list(until(found, f"{count} unprocessed messages"))

    def idle(self) -> None:
        until(lambda: self.platform.bus.depth() == 0, "an empty bus")

    def pass_time(self, seconds: float) -> int:
        """Move the clock and fire what is due."""
        self.clock.ms += round(seconds * 1000)
        return self.platform.timers.fire_due()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    made.component(
        "Hook",
        """
        effects = "none"
        def receive(self, context):
            context.send(context.messages["webhook"].content["data"], "out")
        """,
        inPorts=[],
        webhook=True,
    )
    made.component(
        "Echo",
        """
        effects = "none"
        def receive(self, context):
            context.send(context.messages["in"].content, "out")
        """,
        inPorts=[{"name": "in", "schema": {"type": "object"}}],
    )
    made.component(
        "Answer",
        """
        effects = "none"
        def receive(self, context):
            context.respond(context.messages["in"].content, 201, {"x-lab": "yes"})
        """,
        outPorts=[],
    )
    yield made
    made.close()


def step(type: str, *links: tuple[str, str], fields: dict[str, Any] | None = None, **rest: Any) -> dict[str, Any]:
    """A component linked from (name, port)…; each link has the same mapping `fields`, variables written inline."""
    source: dict[str, Any] = {}
    transform: dict[str, Any] = {}
    in_port = rest.pop("port", "in")
    for name, out in links:
        source.setdefault(in_port, {}).setdefault(f"@{name}@", []).append(out)
        if fields is not None:
            mapping = {"type": "json2new", "lambda": fields, "modifiers": rest.get("modifiers", {})}
            transform.setdefault(in_port, {}).setdefault(f"@{name}@", {})[out] = mapping
    rest.pop("modifiers", None)
    config = {"properties": rest.pop("properties", {}), **({"transform": transform} if transform else {})}
    kind = type if "." in type else f"test.lab.core.{type}"
    return {"type": kind, "label": type, "source": source, "config": config, **rest}


@pytest.fixture
def make() -> Callable[..., dict[str, Any]]:
    return step
