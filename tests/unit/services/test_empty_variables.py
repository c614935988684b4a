"""Which variables are known to be empty before a flow runs."""

from __future__ import annotations

from typing import Any

import pytest

from engine.adapters.catalogue import BUILT_IN, Catalogue
from engine.model.flow import read_descriptor
from engine.services.empty_variables import warnings
from tests.needs import corpus

TRIGGER, EACH, JOIN, SET = (
    f"appmixer.utils.{name}" for name in ("http.WebhookTrigger", "controls.Each", "controls.JoinEach", "storage.Set")
)
CATALOGUE = Catalogue(BUILT_IN)


def step(type: str, sender: str = "", out: str = "", variable: str = "", **more: Any) -> dict[str, Any]:
    mapping = {"lambda": {"key": "k-{{{v}}}"}, "modifiers": {"key": {"v": {"variable": variable, "functions": []}}}}
    port = "item" if type == EACH else "in"
    source = {port: {sender: [out]}} if sender else {}
    return {"type": type, "source": source, "config": {"transform": {port: {sender: {out: mapping}}}}, **more}


def told(flow: dict[str, Any]) -> list[str]:
    return [problem.message for problem in warnings(read_descriptor(flow), CATALOGUE.get)]


@pytest.mark.parametrize(
    ("variable", "why"),
    [
        ("$.hook.request.data", None),
        ("$.each.item.value", None),
        ("$.each.error.message", None),
        ("$.gone.out", "reads the step gone, which is not in the flow any more"),
        ("$.off.out", "reads Off, which is disabled"),
        ("$.beside.out", "reads Beside, which is not on the way here"),
        ("$.end.out", "reads Set, which is not on the way here"),
        ("$.each.nothing", "reads the out port 'nothing', which Each does not have"),
    ],
)
def test_what_a_variable_reads(variable: str, why: str | None) -> None:
    flow = {
        "hook": step(TRIGGER),
        "each": step(EACH, "hook", "request"),
        "off": step(SET, "each", "item", disabled=True, label="Off"),
        "beside": step(SET, "hook", "request", label="Beside"),
        "end": step(SET, "off", "out", variable),
    }
    assert told(flow) == ([f"Set, key: {why}; its value will be empty"] if why else [])


def test_deep_inside_and_in_the_arguments_of_modifiers() -> None:
    flow = {"hook": step(TRIGGER), "end": step(SET, "hook", "request")}
    argument = {"value": "{{{w}}}", "modifiers": {"w": {"variable": "$.gone.out"}}}
    flow["end"]["config"]["transform"]["in"]["hook"]["request"] = {
        "lambda": {"key": [{"deep": "{{{v}}}"}], "value": "{{{$.lost.out.x}}}"},
        "modifiers": {
            "key": {"v": {"variable": "$.hook.request", "functions": [{"name": "g_add", "params": [argument]}]}}
        },
    }
    assert [text.split(",")[1] for text in told(flow)] == [" key: reads the step gone", " value: reads the step lost"]


def test_what_nobody_reads_is_not_told() -> None:
    """Mappings of links that are gone, and those of a disabled step."""
    stale = step(SET, "hook", "request", "$.hook.request")
    stale["config"]["transform"]["in"]["gone"] = {"out": {"lambda": {"key": "{{{$.gone.out}}}"}, "modifiers": {}}}
    flow = {"hook": step(TRIGGER), "stale": stale, "off": step(SET, "hook", "request", "$.gone.out", disabled=True)}
    assert told(flow) == []


def test_properties_are_read_too() -> None:
    flow = {"hook": step(TRIGGER), "end": step(SET, "hook", "request", "$.hook.request")}
    flow["end"]["config"]["properties"] = {"p": "{{{$.gone.out}}}"}
    [problem] = warnings(read_descriptor(flow), CATALOGUE.get)
    assert (problem.component_id, problem.field) == ("end", "config.properties.p")


def test_no_real_flow_is_warned_of() -> None:
    for row in corpus("flows"):
        assert told(row["json"]["flow"]) == [], row["path"]
