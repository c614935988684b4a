"""Large contents: stored once and carried by name wherever they go, and bounded (design.md §4 "Bounds")."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
import pytest

from engine.model.message import encode
from engine.ports import Query, Settlement
from engine.services import payloads
from tests.integration.engine.conftest import Lab, until
from tests.integration.engine.test_durability import BLOCKS, crash

Make = Callable[..., dict[str, Any]]

MOST = 1_000_000
MAPPED = [{"name": "in", "schema": {"type": "object"}}]
MAKES = """
effects = {effects!r}
def receive(self, context):
    came = context.messages["in"]
    given = came.content or came.original_content
    for n in range(given.get("times", 1)):
        context.send({{"n": n, "text": "x" * given["length"]}}, "out")
"""
MEASURES = """
effects = {effects!r}
def receive(self, context):
    content = context.messages["in"].content
    context.send({{name: len(text) for name, text in content.items()}}, "out")
"""


@pytest.fixture
def large(lab: Lab) -> Lab:
    for effects in ("external", "state"):
        lab.component(f"Makes{effects.title()}", MAKES.format(effects=effects), inPorts=MAPPED)
        lab.component(f"Measures{effects.title()}", MEASURES.format(effects=effects), inPorts=MAPPED)
    lab.component("Blocks", BLOCKS)
    fails = "def receive(self, context):\n    raise StepError('never', retryable=False)"
    lab.component("Fails", fails, inPorts=MAPPED)
    lab.options["output_bytes"] = MOST
    return lab


def text_of(*names: str) -> dict[str, str]:
    return {name: f"{{{{{{$.@{name}@.out.text}}}}}}" for name in names}


def sent(lab: Lab, flow: str, name: str, count: int) -> None:
    """Wait until a step has sent so many times; its records are cut, so they cannot be read."""
    until(lambda: sum(hit["portType"] == "out" for hit in lab.log(flow, name)) == count, f"{count} outputs of {name}")


@pytest.mark.parametrize("effects", ["External", "State"])
def test_an_output_over_the_limit_fails_with_advice(large: Lab, make: Make, effects: str) -> None:
    large.open()
    measures = make(f"Measures{effects}", ("makes", "out"), fields=text_of("makes"))
    flow = large.flow({"hook": make("Hook"), "makes": make(f"Makes{effects}", ("hook", "out")), "measures": measures})
    large.post(flow, "hook", {"length": MOST - 100}, enqueue_only=True)
    assert large.outputs(flow, "measures") == [{"makes": MOST - 100}]
    large.post(flow, "hook", {"length": MOST}, enqueue_only=True)
    [failed] = large.errors(flow, "makes")
    assert f"test.lab.core.Makes{effects} emitted 1000017 bytes on port 'out'" in failed["msg"]
    assert "HEADRACE_OUTPUT_BYTES" in failed["msg"]
    assert "file" in failed["msg"]
    large.idle()
    assert len(large.unprocessed(flow)) == 1, "trying again cannot help"


def test_all_outputs_of_a_call_that_is_not_repeated_are_bounded(large: Lab, make: Make) -> None:
    large.open()
    flow = large.flow({"hook": make("Hook"), "makes": make("MakesExternal", ("hook", "out"))})
    large.post(flow, "hook", {"length": 900_000, "times": 4}, enqueue_only=True)
    sent(large, flow, "makes", 4)
    large.post(flow, "hook", {"length": 900_000, "times": 5}, enqueue_only=True)
    assert "more than 4000000 bytes in one call" in large.errors(flow, "makes")[0]["msg"]


def test_a_call_that_can_be_repeated_sends_any_amount(large: Lab, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.services.context.WINDOW_BYTES", 2_000_000)
    large.open()
    flow = large.flow({"hook": make("Hook"), "makes": make("MakesState", ("hook", "out"))})
    settled: list[int] = []
    settle = large.platform.bus.settle

    def counted(delivery: Any, settlement: Settlement) -> Any:
        settled.append(sum(len(orjson.dumps(write.doc)) for write in settlement.writes))
        return settle(delivery, settlement)

    large.platform.bus.settle = counted  # type: ignore[method-assign]
    large.post(flow, "hook", {"length": 900_000, "times": 21}, enqueue_only=True)
    sent(large, flow, "makes", 21)
    assert max(settled) < 2_100_000


def test_an_answer_over_its_limit_fails_the_step(large: Lab, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.services.context.REPLY_BYTES", 10_000)
    large.open()
    flow = large.flow({"hook": make("Hook"), "answer": make("Answer", ("hook", "out"))})
    assert large.post(flow, "hook", {"text": "x" * 9_000}).status == 201
    assert large.post(flow, "hook", {"text": "x" * 10_000}).status != 201
    assert "an answer may have at most 10000" in large.errors(flow, "answer")[0]["msg"]


def test_no_message_carries_what_memory_has_lost(large: Lab, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """More large outputs are on their way than are held in memory: they go by name all the same."""
    monkeypatch.setattr(payloads, "IN_MEMORY", 100_000)
    large.open()
    flow = large.flow(
        {
            "hook": make("Hook"),
            "one": make("MakesState", ("hook", "out")),
            "two": make("MakesState", ("one", "out"), fields={"length": 90_000}),
            "three": make("MakesState", ("two", "out"), fields={"length": 70_000}),
            "call": make("MakesExternal", ("three", "out"), fields={"length": 1}),
            "end": make("MeasuresExternal", ("call", "out"), fields=text_of("one", "two", "three")),
        }
    )
    sizes: list[int] = []
    settle = large.platform.bus.settle

    def measured(delivery: Any, settlement: Settlement) -> Any:
        sizes.extend(len(encode(message)) for message in settlement.publishes)
        return settle(delivery, settlement)

    large.platform.bus.settle = measured  # type: ignore[method-assign]
    large.post(flow, "hook", {"length": 80_000}, enqueue_only=True)
    assert large.outputs(flow, "end") == [{"one": 80_000, "two": 90_000, "three": 70_000}]
    assert max(sizes) < 10_000


def test_the_ledger_holds_large_outputs_by_name(large: Lab, make: Make) -> None:
    large.options["output_bytes"] = 4_000_000
    large.open()
    steps = {
        "hook": make("Hook"),
        "makes": make("MakesExternal", ("hook", "out")),
        "blocks": make("Blocks", ("makes", "out")),
        "measures": make("MeasuresState", ("blocks", "out"), fields=text_of("makes")),
    }
    flow = large.flow(steps)
    large.platform.cache.set("static:block", True, 600)
    large.post(flow, "hook", {"length": 3_000_000}, enqueue_only=True)
    [entry] = until(lambda: [d for d in large.platform.documents.find("ledger") if d["state"] == "done"], "an entry")
    assert len(orjson.dumps(entry)) < 5_000
    blocked = large.platform
    crash(large)
    blocked.cache.delete("static:block")
    large.open()
    assert large.outputs(flow, "measures") == [{"makes": 3_000_000}]
    assert large.platform.metrics.registry.get_sample_value("headrace_external_repeats_total") == 0


def test_an_unprocessed_message_is_small_and_tried_again_whole(large: Lab, make: Make) -> None:
    large.open()
    fails = make("Fails", ("makes", "out"), fields=text_of("makes"))
    flow = large.flow({"hook": make("Hook"), "makes": make("MakesState", ("hook", "out")), "fails": fails})
    large.post(flow, "hook", {"length": 900_000}, enqueue_only=True)
    [doc] = large.unprocessed(flow)
    assert len(orjson.dumps(doc)) < 10_000
    [shown] = large.platform.unprocessed.find(large.caller.user_id, Query())
    assert "too long to be shown" in shown["messages"]["in"][0]["content"]
    record = large.platform.flows.get(flow, large.caller)
    cids = {step["label"]: cid for cid, step in record["flow"].items()}
    record["flow"][cids["Fails"]]["type"] = "test.lab.core.MeasuresState"
    large.platform.flows.save(flow, {"flow": record["flow"]}, large.caller, force=True)
    large.platform.unprocessed.retry(large.caller.user_id, doc["messageId"])
    assert large.outputs(flow, "fails") == [{"makes": 900_000}]


def test_an_execution_that_waits_for_a_call_keeps_large_outputs_by_name(large: Lab, make: Make) -> None:
    large.component(
        "Asks",
        """
        effects = "state"
        def receive(self, context):
            if "webhook" in context.messages:
                context.send({}, "out")
            else:
                context.webhook_url()
        """,
        webhook=True,
        inPorts=MAPPED,
    )
    large.open()
    flow = large.flow(
        {
            "hook": make("Hook"),
            "makes": make("MakesState", ("hook", "out")),
            "asks": make("Asks", ("makes", "out"), fields={}),
            "measures": make("MeasuresState", ("asks", "out"), fields=text_of("makes")),
        }
    )
    large.post(flow, "hook", {"length": 900_000}, enqueue_only=True)
    [kept] = until(lambda: large.platform.documents.find("continuity"), "the execution to wait")
    assert len(orjson.dumps(kept)) < 5_000
    large.idle()
    large.post(flow, "asks", {}, correlation_id=kept["correlationId"], enqueue_only=True)
    assert large.outputs(flow, "measures") == [{"makes": 900_000}]


@pytest.fixture
def big_answers() -> Iterator[str]:
    """A server that answers `/<n>` with n bytes."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            left = int(self.path[1:])
            while left:
                left -= self.wfile.write(b"x" * min(left, 1_000_000))

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_an_answer_of_30_mb_passes_and_one_of_40_mb_is_advised(large: Lab, make: Make, big_answers: str) -> None:
    del large.options["output_bytes"]
    large.options["http_allow"] = ("127.0.0.1",)
    large.open()
    fields = {"url": big_answers + "/{{{$.@hook@.out.length}}}"}
    get = make("appmixer.utils.http.Get", ("hook", "out"), fields=fields)
    measures = make("MeasuresState", ("get", "response"), fields={"body": "{{{$.@get@.response.body}}}"})
    flow = large.flow({"hook": make("Hook"), "get": get, "measures": measures})
    large.post(flow, "hook", {"length": 30_000_000}, enqueue_only=True)
    assert large.outputs(flow, "measures") == [{"body": 30_000_000}]
    large.post(flow, "hook", {"length": 40_000_000}, enqueue_only=True)
    assert "HEADRACE_OUTPUT_BYTES" in large.errors(flow, "get")[0]["msg"]
