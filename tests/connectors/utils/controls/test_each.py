from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from engine.sdk import CancelError, StepError
from tests.connectors.recorder import Recorder, run
from tests.connectors.world import World

EACH = "appmixer.utils.controls.Each"


def test_one_message_for_every_element_in_order_then_done() -> None:
    sent = run(EACH, {"in": {"list": ["a", {"b": 1}, None]}}).sent
    shared = {"count": 3, "correlationId": sent[0][1]["correlationId"]}
    assert sent == [
        ("item", {"index": 0, "value": "a", **shared}),
        ("item", {"index": 1, "value": {"b": 1}, **shared}),
        ("item", {"index": 2, "value": None, **shared}),
        ("done", shared),
    ]
    assert shared["correlationId"]


def test_each_execution_has_its_own_loop_id_and_a_redelivery_the_same() -> None:
    recorder = Recorder(EACH)
    recorder.receive({"in": {"list": [1, 2]}}, message_id="m1")
    first = recorder.take()
    recorder.receive({"in": {"list": [1, 2]}}, message_id="m1")
    assert recorder.take() == first
    recorder.receive({"in": {"list": [1, 2]}}, message_id="m2")
    assert recorder.sent[0][1]["correlationId"] != first[0][1]["correlationId"]


def test_a_text_must_be_a_json_array() -> None:
    assert [p for p, _ in run(EACH, {"in": {"list": "[1, 2]"}}).sent] == ["item", "item", "done"]
    with pytest.raises(CancelError, match="not a JSON array"):
        run(EACH, {"in": {"list": "one, two"}})


@pytest.mark.parametrize("value", [[], "[]", '{"a": 1}', "7", "null"])
def test_nothing_to_loop_over_is_only_done_with_no_items(value: Any) -> None:
    ((port, content),) = run(EACH, {"in": {"list": value}}).sent
    assert (port, content["count"]) == ("done", 0)


def flow(list_value: Any, modifiers: Mapping[str, Any]) -> dict[str, Any]:
    mapping = {"lambda": {"list": list_value}, "modifiers": {"list": modifiers}}
    upstream = {
        "type": "acme.shop.core.ListOrders",
        "config": {"properties": {"region": "eu"}, "transform": {"in": {"x": {"out": {"lambda": {"shelf": "s1"}}}}}},
    }
    each = {"type": EACH, "source": {"in": {"up": ["out"]}}, "config": {"transform": {"in": {"up": {"out": mapping}}}}}
    return {"up": upstream, "c1": each}


def options(
    list_value: str = "{{{v1}}}", modifiers: Mapping[str, Any] | None = None, world: World | None = None
) -> list[tuple[str, str]]:
    given = {"v1": {"variable": "$.up.out.orders", "functions": []}} if modifiers is None else modifiers
    recorder = Recorder(EACH, flow=flow(list_value, given), world=world, properties={"buildOutPortOptions": True})
    recorder.receive({"in": {"list": []}})
    ((port, content),) = recorder.sent
    assert port == "item"
    return [(option["label"], option["value"]) for option in content]


ITEMS = {
    "type": "object",
    "properties": {
        "id": {"type": "number", "title": "Order number"},
        "buyer": {"type": "object", "properties": {"name": {"type": "string"}}},
    },
}
ORDERS = {"label": "Orders", "value": "orders", "schema": {"type": "array", "items": ITEMS}}
BASE = [("Position", "index"), ("Item", "value"), ("Number of items", "count"), ("Loop id", "correlationId")]
FULL = [
    *BASE[:2],
    ("Order number", "value.id"),
    ("buyer", "value.buyer"),
    ("name", "value.buyer.name"),
    *BASE[2:],
]


@pytest.fixture
def world() -> World:
    world = World()
    world.manifests["acme.shop.core.ListOrders"] = {"outPorts": ["other", {"name": "out", "options": [ORDERS]}]}
    return world


def test_options_offer_the_fields_of_the_items(world: World) -> None:
    assert options(world=world) == FULL


def test_a_legacy_inline_variable_is_followed_too(world: World) -> None:
    assert options("{{{$.up.out.orders}}}", {}, world) == FULL


@pytest.mark.parametrize(
    ("value", "modifiers"),
    [
        ("{{{v1}}}", {"v1": {"variable": "$.up.out.orders", "functions": [{"name": "g_first"}]}}),
        ("{{{v1}}}{{{v2}}}", {}),
        ("[1]", {}),
        ("{{{v1}}}", {}),
        ("{{{v1}}}", {"v1": {"variable": "$.up.out.unknown"}}),
        ("{{{v1}}}", {"v1": {"variable": "$.gone.out.orders"}}),
    ],
)
def test_options_are_the_plain_ones_when_the_items_are_unknown(
    world: World, value: str, modifiers: dict[str, Any]
) -> None:
    assert options(value, modifiers, world) == BASE


def test_dynamic_options_are_asked_for_as_the_designer_would(world: World) -> None:
    source = {
        "url": "/component/acme/shop/core/Describe?outPort=fields",
        "data": {
            "properties": {"deep": True, "region": "properties/region"},
            "messages": {"in/shelf": "inputs/in/shelf", "in/none": "inputs/in/none"},
            "transform": "./transformers#toOptions",
        },
    }
    world.manifests["acme.shop.core.ListOrders"] = {"outPorts": [{"name": "out", "source": source}]}
    asked: list[Any] = []

    def describe(port: str, properties: Mapping[str, Any], messages: Mapping[str, Any]) -> Any:
        asked.append((port, properties, messages))
        return [ORDERS]

    world.static["acme.shop.core.Describe"] = describe
    assert options(world=world) == FULL
    assert asked == [("fields", {"deep": True, "region": "eu"}, {"in/shelf": "s1", "in/none": None})]


def test_a_source_that_fails_leaves_the_plain_options(world: World) -> None:
    def fail(*_: Any) -> Any:
        raise StepError("no account yet")

    world.static["acme.shop.core.Describe"] = fail
    source = {"url": "/component/acme/shop/core/Describe?outPort=out"}
    world.manifests["acme.shop.core.ListOrders"] = {"outPorts": [{"name": "out", "source": source}]}
    assert options(world=world) == BASE
    assert options(world=World()) == BASE
