"""What docs/ shows works: the example flows, and the example connector of docs/connectors.md."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from engine.compiler import check
from engine.errors import BadRequest
from engine.model.flow import read_descriptor
from tests.connectors.recorder import Recorder

if TYPE_CHECKING:
    from tests.integration.docs.conftest import Engine, Shop

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
FLOWS = sorted(EXAMPLES.glob("*.json"))
ACCOUNT = {"url": "https://shop.example.com", "apiKey": "k"}

Recorded = Callable[..., Recorder]


def linked(kind: str, sender: str, port: str, fields: dict[str, Any], **properties: Any) -> dict[str, Any]:
    mapping = {"in": {sender: {port: {"type": "json2new", "lambda": fields, "modifiers": {}}}}}
    return {
        "type": kind,
        "label": kind,
        "source": {"in": {sender: [port]}},
        "config": {"properties": properties, "transform": mapping},
    }


# -- flows


@pytest.mark.parametrize("path", FLOWS, ids=[p.name for p in FLOWS])
def test_every_example_flow_can_start(engine: Engine, path: Path) -> None:
    record = orjson.loads(path.read_bytes())
    assert check(read_descriptor(record["flow"]), engine.platform.catalogue.get, {}) == []
    engine.run(record["flow"])


@pytest.mark.parametrize(
    ("quantity", "answer"),
    [
        (10, "Thank you, Ada Lovelace: 100 in all, delivery is free.\n"),
        (9, "Thank you, Ada Lovelace: 90 in all, and 5 for delivery.\n"),
    ],
)
def test_the_order_flow_answers_by_size(engine: Engine, quantity: int, answer: str) -> None:
    flow = orjson.loads((EXAMPLES / "order.json").read_bytes())["flow"]
    reply = engine.post(
        engine.run(flow), next(iter(flow)), {"customer": "ada lovelace", "quantity": quantity, "price": 10}
    )
    assert (reply.status, reply.body) == (200, answer)


# -- the connector on the engine


def ordering() -> dict[str, Any]:
    hook = "appmixer.utils.http.WebhookTrigger"
    fields = {"product": "{{{$.hook.request.data.product}}}", "quantity": "{{{$.hook.request.data.quantity}}}"}
    return {
        "hook": {"type": hook, "source": {}, "config": {"properties": {"immediateResponse": False}}},
        "create": linked("acme.shop.orders.CreateOrder", "hook", "request", fields),
        "answer": linked("appmixer.utils.http.Response", "create", "order", {"body": "order {{{$.create.order.id}}}"}),
    }


def test_an_account_is_checked_and_named(engine: Engine, shop: Shop) -> None:
    account = engine.connect(shop)
    assert account["name"] == "ann@example.com"
    assert account["profileInfo"] == {"email": "ann@example.com"}
    with pytest.raises(BadRequest, match="the shop answered 401"):
        engine.connect(shop, key="wrong")


def test_an_action_calls_the_service(engine: Engine, shop: Shop) -> None:
    flow_id = engine.run(ordering(), engine.connect(shop)["accountId"])
    reply = engine.post(flow_id, "hook", {"product": "p1", "quantity": 3})
    assert reply.body == "order 1"
    assert [(o["product"], o["quantity"]) for o in shop.orders] == [("p1", 3)]


def test_a_failure_that_passes_is_tried_again(engine: Engine, shop: Shop) -> None:
    flow_id = engine.run(ordering(), engine.connect(shop)["accountId"])
    shop.refusals = [503, 503]
    assert engine.post(flow_id, "hook", {"product": "p1", "quantity": 1}).body == "order 1"
    assert shop.calls.count("POST /orders") == 3


def test_a_failure_that_stays_ends_in_an_unprocessed_message(engine: Engine, shop: Shop) -> None:
    flow_id = engine.run(ordering(), engine.connect(shop)["accountId"])
    shop.refusals = [422]
    engine.post(flow_id, "hook", {"product": "p1", "quantity": 1})
    kept = engine.unprocessed(flow_id)
    assert kept["componentId"] == "create"
    assert "the shop answered 422" in str(kept["err"])
    assert shop.calls.count("POST /orders") == 1


def test_input_that_does_not_fit_never_reaches_the_component(engine: Engine, shop: Shop) -> None:
    flow_id = engine.run(ordering(), engine.connect(shop)["accountId"])
    engine.post(flow_id, "hook", {"product": "", "quantity": 1})
    assert "product" in str(engine.unprocessed(flow_id)["err"])
    assert "POST /orders" not in shop.calls


def test_a_polling_trigger_and_a_gathering_step(engine: Engine, shop: Shop) -> None:
    shop.place({"reference": "before", "quantity": 1})
    fields = {"id": "{{{$.new.order.id}}}", "quantity": "{{{$.new.order.quantity}}}"}
    flow = {
        "new": {"type": "acme.shop.orders.NewOrder", "source": {}},
        "collect": linked("acme.shop.orders.CollectOrders", "new", "order", fields, seconds=0.5),
    }
    flow_id = engine.run(flow, engine.connect(shop)["accountId"])
    assert engine.state(flow_id, "new", "position")["last"] == "1"
    shop.place({"reference": "a", "quantity": 2})
    shop.place({"reference": "b", "quantity": 5})
    assert [o["id"] for o in engine.outputs(flow_id, "new", 2)] == ["2", "3"]
    (made,) = engine.outputs(flow_id, "collect", 1)
    assert made["count"] == 2
    with engine.platform.files.open(made["fileId"]) as file:
        assert file.read() == b"id,quantity\n2,2\n3,5"


def test_a_select_field_gets_its_choices_by_a_static_call(engine: Engine, shop: Shop) -> None:
    flow_id = engine.run(ordering(), engine.connect(shop)["accountId"])

    def choices() -> Any:
        return engine.platform.components.call(
            "acme.shop.orders.ListProducts", "out", transform="./transformers#to_select",
            user_id=engine.caller.user_id, flow_id=flow_id, component_id="create",
        )  # fmt: skip

    assert choices() == [{"label": "Pump", "value": "p1"}, {"label": "Pipe", "value": "p2"}]
    assert choices() == choices()
    assert shop.calls.count("GET /products") == 1


# -- its components alone


def test_a_tick_cut_off_by_a_crash_does_its_work_again(recorded: Recorded) -> None:
    trigger = recorded("acme.shop.orders.NewOrder", auth=ACCOUNT)
    trigger.world.http.answer(200, [{"id": "1"}])
    trigger.tick()
    assert trigger.sent == []
    for _ in range(2):
        trigger.world.http.answer(200, [{"id": "2"}])
        trigger.tick(message_id="tick-2")
    assert trigger.sent == [("order", {"id": "2"})] * 2
    assert [r.params["after"] for r in trigger.world.http.requests] == [None, "1", "1"]
    trigger.world.http.answer(200, [])
    trigger.tick()
    assert trigger.world.http.requests[-1].params["after"] == "2"


def test_a_redelivered_order_is_in_the_file_once(recorded: Recorded) -> None:
    collect = recorded("acme.shop.orders.CollectOrders", properties={"seconds": 60})
    for message in ("m1", "m1", "m2"):
        collect.receive({"in": {"id": message, "quantity": 1}}, message_id=message)
    assert len(collect.world.timers) == 1
    collect.world.advance(60_000)
    ((port, made),) = collect.sent
    assert (port, made["count"]) == ("out", 2)
    assert collect.load_file(made["fileId"]) == b"id,quantity\nm1,1\nm2,1"


def test_the_same_reference_goes_with_every_try(recorded: Recorded) -> None:
    create = recorded("acme.shop.orders.CreateOrder", auth=ACCOUNT)
    create.world.http.answer(200, {"id": "7"})
    create.receive({"in": {"product": "p1", "quantity": 1}}, message_id="m1")
    (request,) = create.world.http.requests
    assert orjson.loads(request.body) == {"product": "p1", "quantity": 1, "reference": "m1"}
    assert request.headers["Authorization"] == "Bearer k"
    assert create.sent == [("order", {"id": "7"})]
