"""Who answers a webhook call, and when it is known that nobody will."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.adapters.catalogue import ComponentType
from engine.errors import HeadraceError, NotFound
from tests.integration.engine.conftest import Lab, step, until


class Slow(Future[None]):
    """A settlement whose waiting thread gets its turn late."""

    def __init__(self, settled: Future[None], wait: Any) -> None:
        super().__init__()
        self._settled = settled
        self._wait = wait

    def add_done_callback(self, fn: Any) -> None:
        self._settled.add_done_callback(fn)

    def result(self, timeout: float | None = None) -> None:
        self._settled.result(timeout)
        self._wait()


def test_a_branch_that_ends_at_once_does_not_answer_for_the_others(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    leave = lab.folder / "leave"
    lab.component("Quick", "def receive(self, context):\n    pass")
    lab.component(
        "Late",
        f"""
        def receive(self, context):
            from pathlib import Path
            while not Path({str(leave)!r}).exists():
                time.sleep(0.01)
            context.send({{"from": "late"}}, "out")
        """,
    )
    lab.options["webhook_timeout"] = 10.0
    lab.open()
    flow = lab.flow(
        {
            "hook": step("appmixer.utils.http.WebhookTrigger", properties={"immediateResponse": False}),
            "quick": step("Quick", ("hook", "request")),
            "late": step("Late", ("hook", "request")),
            "answer": step("Answer", ("late", "out")),
        }
    )
    bus = lab.platform.bus
    settle = bus.settle

    def quick_is_over() -> None:
        until(lambda: bus.depth(flow) == 1, "the end of the quick branch")
        leave.touch()

    def settled(delivery: Any, settlement: Any) -> Future[None]:
        done = settle(delivery, settlement)
        return done if delivery is not None else Slow(done, quick_is_over)

    monkeypatch.setattr(bus, "settle", settled)
    reply = lab.post(flow, "hook", {})
    assert (reply.status, reply.body) == (201, {"from": "late"})


SAYS = """
effects = "none"
def receive(self, context):
    context.respond({"n": 1}, 201)
    context.send({}, "out")
"""


@pytest.fixture
def inline(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A lab whose components are the product's own, so that calls run where they arrive."""
    monkeypatch.setattr(ComponentType, "trusted", True)
    return lab


def warnings(lab: Lab, flow: str, name: str) -> list[str]:
    """The one warning of a step, as a list."""
    return list(until(lambda: [hit["msg"] for hit in lab.log(flow, name) if hit["severity"] == "warning"], "a warning"))


def test_a_second_answer_of_one_call_is_told(lab: Lab) -> None:
    lab.component(
        "Twice",
        """
        effects = "none"
        def receive(self, context):
            context.respond({"n": 1})
            context.respond({"n": 2}, 203)
        """,
    )
    lab.open()
    flow = lab.flow({"hook": step("Hook"), "twice": step("Twice", ("hook", "out"), label="Says it twice")})
    assert lab.post(flow, "hook", {}).body == {"n": 1}
    (text,) = warnings(lab, flow, "twice")
    assert "Says it twice" in text
    assert "203" in text


@pytest.mark.parametrize("between", ["Echo", "Outside", "Wait"])
def test_a_second_answer_of_an_execution_names_its_step(lab: Lab, between: str) -> None:
    lab.component("Says", SAYS)
    lab.component("Outside", 'def receive(self, context):\n    context.send({}, "out")')
    lab.component(
        "Wait",
        """
        effects = "state"
        def receive(self, context):
            context.send({}, "out") if "timeout" in context.messages else context.set_timeout({}, 3_600_000)
        """,
    )
    lab.open()
    flow = lab.flow(
        {
            "hook": step("Hook"),
            "first": step("Says", ("hook", "out")),
            "between": step(between, ("first", "out")),
            "second": step("Says", ("between", "out"), label="The other one"),
        }
    )
    assert lab.post(flow, "hook", {}).status == 201
    if between == "Wait":
        until(lambda: lab.platform.documents.count("timers"), "the time-out")
        (timer,) = lab.platform.documents.find("timers")
        lab.platform.cache.delete(f"answered:{timer['correlationId']}")  # as it is long forgotten
        lab.pass_time(3601)
    (text,) = warnings(lab, flow, "second")
    assert "The other one" in text
    assert not [hit for hit in lab.log(flow, "first") if hit["severity"] == "warning"]


def test_the_only_answer_is_not_told_even_if_nobody_waits(lab: Lab) -> None:
    lab.component("Says", SAYS)
    lab.open()
    flow = lab.flow({"hook": step("Hook"), "says": step("Says", ("hook", "out"))})
    lab.post(flow, "hook", {}, enqueue_only=True)
    assert lab.outputs(flow, "says")
    assert not [hit for hit in lab.log(flow) if hit["severity"] == "warning"]


# -- when it is known that nobody will answer


GATED = """
def receive(self, context):
    from pathlib import Path
    content = context.messages["in"].content
    if content.get("n") == {n}:
        Path({gate!r} + ".entered").touch()
        while not Path({gate!r}).exists():
            time.sleep(0.01)
    {then}
"""


def entered(gate: Path) -> None:
    until(gate.with_name(gate.name + ".entered").exists, "a step at work")


class Caller(threading.Thread):
    """A call under way; `reply` once it was answered."""

    def __init__(self, lab: Lab, flow: str, name: str, data: Any = None, **options: Any) -> None:
        super().__init__(daemon=True)
        self._call = partial(lab.post, flow, name, data, **options)
        self.outcome: Any = None
        self.start()

    def run(self) -> None:
        try:
            self.outcome = self._call()
        except HeadraceError as error:
            self.outcome = error

    def reply(self) -> Any:
        self.join(30)
        assert not self.is_alive(), "no answer"
        return self.outcome


@pytest.mark.parametrize("effects", ["none", "external"])
@pytest.mark.parametrize("count", [20, 26])
@pytest.mark.parametrize("answers", [True, False])
def test_messages_sent_in_windows_count(
    inline: Lab, effects: str, count: int, answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, gate = inline, inline.folder / "gate"
    for module in ("windows", "context", "execution"):
        monkeypatch.setattr(f"engine.services.{module}.WINDOW", 10)
    many = f'effects = "{effects}"\ndef receive(self, context):\n'
    many += f'    context.send_array(({{"n": n}} for n in range({count})), "out")'
    lab.component("Many", many)
    then = 'context.send({}, "out") if content.get("n") == 3 else None' if answers else "pass"
    lab.component("Sink", GATED.format(n=3, gate=str(gate), then=then))
    lab.options["webhook_timeout"] = 60.0
    lab.open()
    flow = lab.flow(
        {
            "hook": step("Hook"),
            "many": step("Many", ("hook", "out")),
            "sink": step("Sink", ("many", "out")),
            "answer": step("Answer", ("sink", "out")),
        }
    )
    call = Caller(lab, flow, "hook", {})
    until(lambda: lab.inputs(flow, "sink", count - 1) and lab.platform.bus.depth(flow) == 1, "all but one")
    call.join(0.2)
    assert call.is_alive(), call.outcome
    gate.touch()
    assert call.reply().status == (201 if answers else 204)


ASKS = """
effects = "state"
def receive(self, context):
    if "webhook" in context.messages:
        context.send(context.messages["webhook"].content["data"], "out")
    else:
        context.webhook_url()
"""


@dataclass
class Parallel:
    """hook → asks, called back → back, which waits at "back.gate"; hook → side, which waits at "side.gate" → answer."""

    lab: Lab
    flow: str
    cid: str

    def open(self, name: str) -> None:
        (self.lab.folder / f"{name}.gate").touch()

    def at_work(self, name: str) -> None:
        entered(self.lab.folder / f"{name}.gate")

    def depth(self, depth: int) -> None:
        until(lambda: self.lab.platform.bus.depth(self.flow) == depth, f"{depth} messages under way")


def parallel(lab: Lab, *, side_answers: bool, back: str = "external", wait: bool = False) -> Parallel:
    for name, effects in (("Back", back), ("Side", "external")):
        code = GATED.format(n=1, gate=str(lab.folder / f"{name.lower()}.gate"), then='context.send({}, "out")')
        lab.component(name, f'effects = "{effects}"\n{code}')
    lab.component("Asks", ASKS, webhook=True)
    lab.component("Wait", 'effects = "state"\ndef receive(self, context):\n    context.set_timeout({}, 60_000)')
    lab.options["webhook_timeout"] = 20.0
    lab.open()
    steps = {
        "hook": step("Hook"),
        "asks": step("Asks", ("hook", "out")),
        "back": step("Back", ("asks", "out")),
        "side": step("Side", ("hook", "out")),
    }
    if side_answers:
        steps["answer"] = step("Answer", ("side", "out"))
    if wait:
        steps["wait"] = step("Wait", ("hook", "out"))
    flow = lab.flow(steps)
    lab.post(flow, "hook", {"n": 1}, enqueue_only=True)
    made = Parallel(lab, flow, "")
    made.at_work("side")
    until(lambda: lab.platform.documents.count("continuity"), "an address to call")
    (doc,) = lab.platform.documents.find("continuity")
    made.cid = doc["correlationId"]
    return made


def test_another_branch_that_ends_does_not_end_a_call_back(lab: Lab) -> None:
    world = parallel(lab, side_answers=False)
    call = Caller(lab, world.flow, "asks", {"n": 1}, correlation_id=world.cid)
    world.at_work("back")
    world.open("side")
    world.depth(1)
    call.join(0.3)
    assert call.is_alive(), call.outcome
    world.open("back")
    assert call.reply().status == 204


@pytest.mark.parametrize("back", ["external", "none"])
def test_a_call_back_is_answered_by_a_branch_that_is_still_at_work(inline: Lab, back: str) -> None:
    lab = inline
    world = parallel(lab, side_answers=True, back=back)
    call = Caller(lab, world.flow, "asks", {"n": 2}, correlation_id=world.cid)
    assert lab.outputs(world.flow, "back")
    world.depth(1)
    call.join(0.5)
    assert call.is_alive(), call.outcome
    world.open("side")
    assert call.reply().status == 201


def test_a_call_back_does_not_wait_for_what_only_waits(lab: Lab) -> None:
    world = parallel(lab, side_answers=False, wait=True)
    world.open("side")
    world.depth(0)
    assert lab.platform.documents.count("timers") == 1
    call = Caller(lab, world.flow, "asks", {"n": 2}, correlation_id=world.cid)
    assert call.reply().status == 204
    assert lab.platform.documents.count("timers") == 1


def test_two_call_backs_at_once_are_told_apart(lab: Lab) -> None:
    world = parallel(lab, side_answers=False)
    world.open("side")
    world.depth(0)
    slow = Caller(lab, world.flow, "asks", {"n": 1}, correlation_id=world.cid)
    world.at_work("back")
    quick = Caller(lab, world.flow, "asks", {"n": 2}, correlation_id=world.cid)
    assert len(lab.outputs(world.flow, "back")) == 1
    world.depth(1)
    slow.join(0.3)
    assert slow.is_alive(), slow.outcome
    world.open("back")
    assert (slow.reply().status, quick.reply().status) == (204, 204)


# -- calls and a stop at the same time


def refused(call: Caller) -> None:
    error = call.reply()
    assert isinstance(error, NotFound), error
    assert error.code == "FLOW_STOPPED"


def test_a_call_whose_flow_stops_before_it_runs_is_refused(inline: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = inline
    lab.open()
    flow = lab.flow({"hook": step("Hook"), "echo": step("Echo", ("hook", "out"))})
    run = lab.platform.execution.run

    def stopped(*given: Any, **options: Any) -> Any:
        lab.platform.lifecycle.stop(flow)
        return run(*given, **options)

    monkeypatch.setattr(lab.platform.execution, "run", stopped)
    refused(Caller(lab, flow, "hook", {}))
    assert lab.platform.documents.count("unprocessed") == 0


def test_a_call_whose_flow_stops_while_it_runs_is_told_so(inline: Lab) -> None:
    lab = inline
    gate = lab.folder / "gate"
    then = 'context.send({}, "out")'
    lab.component("Slow", 'effects = "none"\n' + GATED.format(n=1, gate=str(gate), then=then))
    lab.open()
    steps = {"hook": step("Hook"), "slow": step("Slow", ("hook", "out")), "answer": step("Answer", ("slow", "out"))}
    flow = lab.flow(steps)
    call = Caller(lab, flow, "hook", {"n": 1})
    entered(gate)
    lab.platform.lifecycle.stop(flow)
    gate.touch()
    refused(call)
    assert [doc["componentId"] for doc in lab.unprocessed(flow)] == [lab.ids["answer"]]


@pytest.mark.parametrize("under_way", [True, False])
def test_a_call_whose_message_waits_when_its_flow_stops(lab: Lab, under_way: bool) -> None:
    gate = lab.folder / "gate"
    lab.component("Slow", GATED.format(n=1, gate=str(gate), then='context.send({}, "out")'))
    lab.options["webhook_timeout"] = 20.0
    lab.open()
    if not under_way:
        lab.platform.bus.stop_consuming()
    steps = {"hook": step("Hook"), "slow": step("Slow", ("hook", "out")), "answer": step("Answer", ("slow", "out"))}
    flow = lab.flow(steps)
    call = Caller(lab, flow, "hook", {"n": 1})
    if under_way:
        entered(gate)
    else:
        until(lambda: lab.platform.bus.depth(flow) == 1, "a waiting message")
    lab.platform.lifecycle.stop(flow)
    gate.touch()
    refused(call)
    assert len(lab.unprocessed(flow)) == 1


def test_a_repeated_call_is_taken_again_after_a_stop(lab: Lab) -> None:
    gate = lab.folder / "gate"
    slow = GATED.format(n=1, gate=str(gate), then='context.send({}, "out")')
    lab.component("Slow", slow, inPorts=[{"name": "in", "schema": {"type": "object"}}])
    lab.options["webhook_timeout"] = 20.0
    lab.open()
    trigger = step("appmixer.utils.http.WebhookTrigger", properties={"immediateResponse": False})
    fields = {"n": "{{{$.@hook@.request.data.n}}}"}
    steps = {
        "hook": trigger,
        "slow": step("Slow", ("hook", "request"), fields=fields),
        "answer": step("Answer", ("slow", "out")),
    }
    flow = lab.flow(steps)
    call = Caller(lab, flow, "hook", {"n": 1}, headers={"idempotency-key": "k"})
    entered(gate)
    lab.platform.lifecycle.stop(flow)
    gate.touch()
    refused(call)
    lab.platform.lifecycle.start(flow)
    assert Caller(lab, flow, "hook", {"n": 2}, headers={"idempotency-key": "k"}).reply().status == 201
