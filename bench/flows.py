"""Flows the benchmark runs, as descriptors."""

from __future__ import annotations

import uuid
from typing import Any

WEBHOOK = "appmixer.utils.http.WebhookTrigger"
SET = "appmixer.utils.controls.SetVariable"
CONDITION = "appmixer.utils.controls.Condition"


def _id() -> str:
    return str(uuid.uuid4())


def _variable(path: str | None, *functions: dict[str, Any]) -> dict[str, Any]:
    return {**({"variable": path} if path else {}), "functions": list(functions)}


def _step(type: str, source: str, port: str, lambda_: dict[str, Any], modifiers: dict[str, Any]) -> dict[str, Any]:
    mapping = {"type": "json2new", "lambda": lambda_, "modifiers": modifiers}
    return {
        "type": type,
        "source": {"in": {source: [port]}},
        "config": {"transform": {"in": {source: {port: mapping}}}},
    }


def _trigger(*, immediate: bool = True) -> dict[str, Any]:
    properties = {"immediateResponse": immediate}
    return {"type": WEBHOOK, "label": "Call", "source": {}, "config": {"properties": properties}}


def three_steps() -> tuple[dict[str, Any], str]:
    """Webhook → set variables with modifiers → condition. Returns (flow, id of the trigger)."""
    trigger, variables, condition = _id(), _id(), _id()
    a, b, c, d = _id(), _id(), _id(), _id()
    data = f"$.{trigger}.request.data"
    first = {"name": "g_first"}
    quantity = {"name": "g_jsonPath", "params": [{"value": "quantity"}]}
    rows = [
        {"name": "id", "type": "text", "text": f"order-{{{{{{{a}}}}}}}"},
        {"name": "quantity", "type": "number", "number": f"{{{{{{{b}}}}}}}"},
        {"name": "lines", "type": "number", "number": f"{{{{{{{c}}}}}}}"},
    ]
    flow = {
        trigger: _trigger(),
        variables: _step(
            SET,
            trigger,
            "request",
            {"variables": {"ADD": rows}},
            {
                "variables": {
                    a: _variable(None, {"name": "g_uuid4"}),
                    b: _variable(f"{data}.lines", first, quantity),
                    c: _variable(f"{data}.lines", {"name": "g_length"}),
                }
            },
        ),
        condition: _step(
            CONDITION,
            variables,
            "out",
            {"expression": {"AND": [{"OR": [{"input": f"{{{{{{{d}}}}}}}", "operator": ">=", "value": "10"}]}]}},
            {"expression": {d: _variable(f"$.{variables}.out.quantity")}},
        ),
    }
    return flow, trigger


EACH_STEPS = 25
"""Steps executed by one call of `each_of_ten`: 1 + 1 + 1 + 10 + 11 + 1."""


def each_of_ten(port: int) -> tuple[dict[str, Any], str]:
    """Webhook → POST → each of 10 → POST → join → response. Returns (flow, id of the trigger)."""
    trigger, first, each, second, join, response = (_id() for _ in range(6))
    loop, count, done, items = (_id() for _ in range(4))
    url = {"url": f"http://127.0.0.1:{port}/", "bodyType": "raw", "body": '{"n": 1}'}
    flow = {
        trigger: _trigger(immediate=False),
        first: _step("appmixer.utils.http.Post", trigger, "request", url, {}),
        each: _step("appmixer.utils.controls.Each", first, "response", {"list": "[0,1,2,3,4,5,6,7,8,9]"}, {}),
        second: _step("appmixer.utils.http.Post", each, "item", url, {}),
        join: _step(
            "appmixer.utils.controls.JoinEach",
            second,
            "response",
            {"correlationId": f"{{{{{{{loop}}}}}}}"},
            {"correlationId": {loop: _variable(f"$.{each}.item.correlationId")}},
        ),
        response: _step(
            "appmixer.utils.http.Response",
            join,
            "out",
            {"body": f"{{{{{{{items}}}}}}} items"},
            {"body": {items: _variable(f"$.{join}.out.items", {"name": "g_length"})}},
        ),
    }
    expected = {"count": f"{{{{{{{count}}}}}}}", "correlationId": f"{{{{{{{done}}}}}}}"}
    modifiers = {
        "count": {count: _variable(f"$.{each}.done.count")},
        "correlationId": {done: _variable(f"$.{each}.done.correlationId")},
    }
    mapping = {"type": "json2new", "lambda": expected, "modifiers": modifiers}
    flow[join]["source"]["count"] = {each: ["done"]}
    flow[join]["config"]["transform"]["count"] = {each: {"done": mapping}}
    return flow, trigger


def called(port: int) -> tuple[dict[str, Any], str]:
    """Webhook → GET → response. Returns (flow, id of the trigger)."""
    trigger, get, response = _id(), _id(), _id()
    flow = {
        trigger: _trigger(immediate=False),
        get: _step("appmixer.utils.http.Get", trigger, "request", {"url": f"http://127.0.0.1:{port}/"}, {}),
        response: _step("appmixer.utils.http.Response", get, "response", {"body": "done"}, {}),
    }
    return flow, trigger


def flood(port: int | None) -> tuple[dict[str, Any], str]:
    """Webhook → each of `data.list` → a GET, or without a port a step of our own. Returns (flow, id of the trigger)."""
    trigger, each, step, items = (_id() for _ in range(4))
    mapping = {"list": f"{{{{{{{items}}}}}}}"}
    rows = {"variables": {"ADD": [{"name": "n", "type": "text", "text": "1"}]}}
    flow = {
        trigger: _trigger(),
        each: _step(
            "appmixer.utils.controls.Each",
            trigger,
            "request",
            mapping,
            {"list": {items: _variable(f"$.{trigger}.request.data.list")}},
        ),
        step: _step(SET, each, "item", rows, {})
        if port is None
        else _step("appmixer.utils.http.Get", each, "item", {"url": f"http://127.0.0.1:{port}/"}, {}),
    }
    return flow, trigger


def chain(length: int) -> tuple[dict[str, Any], str]:
    """Webhook and `length` - 1 steps in a row, each reading the one before. Returns (flow, id of the trigger)."""
    trigger = _id()
    flow = {trigger: _trigger()}
    before, path, port = trigger, f"$.{trigger}.request.data.name", "request"
    for _ in range(length - 1):
        here, v = _id(), _id()
        rows = [{"name": "n", "type": "text", "text": f"{{{{{{{v}}}}}}}"}]
        flow[here] = _step(SET, before, port, {"variables": {"ADD": rows}}, {"variables": {v: _variable(path)}})
        before, path, port = here, f"$.{here}.out.n", "out"
    return flow, trigger
