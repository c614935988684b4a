"""The flow of the soak test: every kind of step that a crash could lose, repeat or mix up."""

from __future__ import annotations

import uuid
from typing import Any

UTILS = "appmixer.utils"
STATE_STEPS = 8


class Builder:
    """Collects steps; `v(path, *functions)` makes a variable of the step being built."""

    def __init__(self) -> None:
        self.flow: dict[str, Any] = {}
        self._modifiers: dict[str, Any] = {}

    def id(self) -> str:
        return str(uuid.uuid4())

    def v(self, path: str | None, *functions: dict[str, Any]) -> str:
        key = self.id()
        self._modifiers[key] = {**({"variable": f"$.{path}"} if path else {}), "functions": list(functions)}
        return f"{{{{{{{key}}}}}}}"

    def step(
        self, type: str, fields: dict[str, Any], *links: tuple[str, str], port: str = "in", into: str | None = None
    ) -> str:
        cid = into or self.id()
        step = self.flow.setdefault(
            cid, {"type": f"{UTILS}.{type}", "source": {}, "config": {"properties": {}, "transform": {}}}
        )
        mapping = {"type": "json2new", "lambda": fields, "modifiers": {f: dict(self._modifiers) for f in fields}}
        for sender, out in links:
            step["source"].setdefault(port, {})[sender] = [out]
            step["config"]["transform"].setdefault(port, {})[sender] = {out: mapping}
        self._modifiers = {}
        return cid


def soak_flow(store_id: str, port: int) -> tuple[dict[str, Any], str]:
    """Webhook → set variables → condition → POST → counters → each of 5 → POST → join → counter → wait → store.

    Returns (flow, id of the webhook). The store gets "counter|items|uuid" under the delivery's id.
    """
    b = Builder()
    hook = b.step("http.WebhookTrigger", {})
    b.flow[hook]["config"] = {"properties": {"immediateResponse": True}}
    rows = [
        {"name": "uuid", "type": "text", "text": b.v(None, {"name": "g_uuid4"})},
        {"name": "id", "type": "text", "text": b.v(f"{hook}.request.data.id")},
    ]
    variables = b.step("controls.SetVariable", {"variables": {"ADD": rows}}, (hook, "request"))
    row = {"input": b.v(f"{variables}.out.id"), "operator": "notEmpty"}
    condition = b.step("controls.Condition", {"expression": {"AND": [{"OR": [row]}]}}, (variables, "out"))
    url = f"http://127.0.0.1:{port}/"
    body = f'{{"id": "{b.v(f"{variables}.out.id")}"}}'
    first = b.step("http.Post", {"url": url, "bodyType": "raw", "body": body}, (condition, "true"))
    # steps with state that run on behind the call, in its delivery: long after its answer they may still die
    behind, out = first, "response"
    for _ in range(STATE_STEPS):
        behind, out = b.step("controls.Counter", {}, (behind, out), port="item"), "count"
        b.flow[behind]["config"]["properties"] = {"count": 0, "increment": 1}
    each = b.step("controls.Each", {"list": "[0, 1, 2, 3, 4]"}, (behind, out))
    body = f'{{"id": "{b.v(f"{variables}.out.id")}.{b.v(f"{each}.item.index")}"}}'
    second = b.step("http.Post", {"url": url, "bodyType": "raw", "body": body}, (each, "item"))
    join = b.step("controls.JoinEach", {"correlationId": b.v(f"{each}.item.correlationId")}, (second, "response"))
    b.step(
        "controls.JoinEach",
        {
            "count": b.v(f"{each}.done.count"),
            "correlationId": b.v(f"{each}.done.correlationId"),
            "timeout": True,
            "timeoutValue": 3600,
        },
        (each, "done"),
        port="count",
        into=join,
    )
    counter = b.step("controls.Counter", {}, (join, "out"), port="item")
    b.flow[counter]["config"]["properties"] = {"count": 0, "increment": 1}
    soon = b.v(None, {"name": "g_now"}, {"name": "g_addTimeSpan", "hashParams": {"seconds": {"value": 2}}})
    wait = b.step("timers.Wait", {"until": soon}, (counter, "count"))
    value = "|".join(
        (
            b.v(f"{counter}.count.count"),
            b.v(f"{join}.out.items", {"name": "g_length"}),
            b.v(f"{variables}.out.uuid"),
        )
    )
    fields = {"storeId": store_id, "key": b.v(f"{variables}.out.id"), "value": value}
    b.step("storage.Set", fields, (wait, "out"))
    return b.flow, hook
