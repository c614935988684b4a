"""Executions as a running engine tells them: how they end, how they are cancelled and played again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import orjson
import pytest

from engine.errors import BadRequest, Conflict
from engine.model.execution import ExecutionQuery
from engine.ports import Doc, Query, Where
from engine.services.executions import ExecutionRequest
from tests.integration.engine.conftest import Lab, until

Make = Callable[..., dict[str, Any]]

FLAKY = """
effects = "state"
def receive(self, context):
    tries = (context.cache_get("tries") or 0) + 1
    context.cache_set("tries", tries, 3_600_000)
    if tries <= 2:
        raise StepError("not yet", code="503")
    context.send({}, "out")
"""
BROKEN = 'effects = "state"\ndef receive(self, context):\n    raise StepError("no", code="400")'
WAIT = """
effects = "state"
def receive(self, context):
    if "timeout" in context.messages:
        context.send(context.messages["timeout"].content, "out")
    else:
        context.set_timeout(context.messages["in"].content, 3_600_000)
"""
EACH = """
effects = "none"
def receive(self, context):
    context.send_array(context.messages["in"].content["list"], "out")
"""


def executions(lab: Lab, flow: str, count: int = 1, **request: Any) -> list[Doc]:
    """All of a flow, oldest first, once there are `count` of them."""
    wanted = ExecutionRequest(flow_ids=(flow,), sort=(("started", 1), ("correlationId", 1)), **request)

    def found() -> list[Doc] | None:
        rows = lab.platform.executions.list(lab.caller, wanted)
        return rows if len(rows) >= count else None

    return list(until(found, f"{count} executions"))


def with_status(lab: Lab, flow: str, status: str, count: int = 1) -> Doc:
    """The first execution of the flow, once it has this status."""

    def found() -> Doc | None:
        return next((e for e in executions(lab, flow, count) if e["status"] == status), None)

    return dict(until(found, f"status {status}"))


def the(lab: Lab, correlation_id: str) -> Doc:
    """One execution, once it has succeeded."""

    def found() -> bool:
        rows = lab.platform.log_index.execution(correlation_id)
        return bool(rows) and rows[0].status == "succeeded"

    until(found, "the execution to succeed")
    return lab.platform.executions.get(lab.caller, correlation_id)


def has_steps(lab: Lab, flow: str, count: int) -> bool:
    return bool(executions(lab, flow)[0]["steps"] >= count)


def detail(lab: Lab, execution: Doc, **page: int) -> Doc:
    return lab.platform.executions.get(lab.caller, execution["correlationId"], **page)


def labels(lab: Lab, execution: Doc) -> list[str]:
    return [step["label"] for step in detail(lab, execution)["steps"]]


# -- how they end


def test_one_that_succeeds(lab: Lab, make: Make) -> None:
    lab.open()
    echo = make("Echo", ("hook", "out"), fields={"a": 1})
    flow = lab.flow({"hook": make("Hook"), "echo": echo, "answer": make("Answer", ("echo", "out"))})
    lab.post(flow, "hook", {"n": 1})
    execution = with_status(lab, flow, "succeeded")
    assert execution.pop("correlationId")
    assert execution == {
        "flowId": flow,
        "revision": 1,
        "trigger": lab.ids["hook"],
        "status": "succeeded",
        "started": "2026-09-21T14:13:20.000Z",
        "ended": "2026-09-21T14:13:20.000Z",
        "steps": 3,
        "errors": 0,
        "failedAt": None,
        "reason": None,
        "replayOf": None,
    }


def test_messages_on_the_bus_belong_to_it(lab: Lab, make: Make) -> None:
    lab.component("Outside", 'def receive(self, context):\n    context.send({}, "out")')
    lab.component("Many", 'effects = "none"\ndef receive(self, context):\n    context.send_array([{}] * 1200, "out")')
    lab.open()
    steps = {"hook": make("Hook"), "many": make("Many", ("hook", "out")), "out": make("Outside", ("many", "out"))}
    flow = lab.flow(steps)
    lab.post(flow, "hook", {}, enqueue_only=True)
    execution = with_status(lab, flow, "succeeded")
    assert execution["steps"] == 1202
    assert detail(lab, execution)["stepsTotal"] == 1202


def test_tries_that_fail_and_one_that_does_not(lab: Lab, make: Make) -> None:
    lab.component("Flaky", FLAKY)
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "flaky": make("Flaky", ("hook", "out"))})
    lab.post(flow, "hook", {}, enqueue_only=True)
    execution = with_status(lab, flow, "waiting")
    assert (execution["errors"], execution["failedAt"], execution["ended"]) == (1, lab.ids["flaky"], None)
    for steps_by_then in (3, 4):
        lab.pass_time(60)
        until(partial(has_steps, lab, flow, steps_by_then), "another try")
    execution = with_status(lab, flow, "succeeded")
    assert (execution["steps"], execution["errors"], execution["failedAt"]) == (4, 2, None)
    steps = detail(lab, execution)["steps"]
    assert [(s["label"], s["attempt"], bool(s["error"])) for s in steps] == [
        ("Hook", 0, False), ("Flaky", 0, True), ("Flaky", 1, True), ("Flaky", 2, False),
    ]  # fmt: skip


def test_one_that_fails_and_is_put_right_by_hand(lab: Lab, make: Make) -> None:
    lab.component(
        "Gate",
        """
        effects = "state"
        def receive(self, context):
            if not context.flow_state.get("open"):
                context.flow_state.set("open", True)
                raise StepError("shut", code="400")
        """,
    )
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "gate": make("Gate", ("hook", "out"))})
    lab.post(flow, "hook", {})
    execution = with_status(lab, flow, "failed")
    assert (execution["errors"], execution["failedAt"]) == (1, lab.ids["gate"])
    assert execution["ended"] is not None
    (message,) = lab.unprocessed(flow)
    lab.platform.unprocessed.retry(lab.caller.user_id, message["messageId"])
    assert with_status(lab, flow, "succeeded")["correlationId"] == execution["correlationId"]


def test_an_error_port_takes_care_of_it(lab: Lab, make: Make) -> None:
    lab.component("Broken", BROKEN)
    lab.open()
    broken = make("Broken", ("hook", "out"), errorHandling={"onError": "errorPort"})
    flow = lab.flow({"hook": make("Hook"), "broken": broken, "echo": make("Echo", ("broken", "error"), fields={})})
    lab.post(flow, "hook", {})
    execution = with_status(lab, flow, "succeeded")
    assert (execution["errors"], execution["steps"]) == (1, 3)


def test_it_waits_for_its_timers(lab: Lab, make: Make) -> None:
    lab.component("Wait", WAIT)
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "wait": make("Wait", ("hook", "out"))})
    lab.post(flow, "hook", {}, enqueue_only=True)
    with_status(lab, flow, "waiting")
    lab.pass_time(3600)
    execution = with_status(lab, flow, "succeeded")
    assert execution["ended"] == "2026-09-21T15:13:20.000Z"
    assert execution["steps"] == 3


def test_it_ends_when_another_execution_clears_its_timer(lab: Lab, make: Make) -> None:
    lab.component(
        "Debounce",
        """
        effects = "state"
        def receive(self, context):
            if "timeout" in context.messages:
                return
            context.clear_timeout(context.state.get("timer"))
            context.state.set("timer", context.set_timeout({}, 3_600_000))
        """,
    )
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "bounce": make("Debounce", ("hook", "out"))})
    lab.post(flow, "hook", {}, enqueue_only=True)
    first = with_status(lab, flow, "waiting")
    lab.pass_time(1)
    lab.post(flow, "hook", {}, enqueue_only=True)
    lab.pass_time(120)
    until(lambda: [e["status"] for e in executions(lab, flow, 2)] == ["succeeded", "waiting"], "the first to end")
    assert executions(lab, flow)[0]["correlationId"] == first["correlationId"]


def test_it_waits_for_a_call_until_that_comes(lab: Lab, make: Make) -> None:
    lab.component(
        "Approval",
        """
        effects = "state"
        def receive(self, context):
            if "webhook" in context.messages:
                context.send({"approved": True}, "out")
            else:
                context.send({"url": context.webhook_url()}, "out")
        """,
        webhook=True,
    )
    lab.open()
    steps = {"hook": make("Hook"), "ask": make("Approval", ("hook", "out"))}
    flow = lab.flow({**steps, "echo": make("Echo", ("ask", "out"), fields={"n": "{{{$.@hook@.out.n}}}"})})
    lab.post(flow, "hook", {"n": 5}, enqueue_only=True)
    execution = with_status(lab, flow, "waiting")
    lab.post(flow, "ask", {}, correlation_id=execution["correlationId"], enqueue_only=True)
    ended = with_status(lab, flow, "succeeded")
    assert ended["correlationId"] == execution["correlationId"]
    assert ended["trigger"] == lab.ids["hook"]
    assert lab.outputs(flow, "echo", 2) == [{"n": 5}] * 2


def test_a_stop_ends_what_is_open(lab: Lab, make: Make) -> None:
    lab.component("Wait", WAIT)
    lab.component("Slow", "def receive(self, context):\n    context.stop_flow()\n    time.sleep(0.2)")
    lab.open()
    flow = lab.flow(
        {"hook": make("Hook"), "wait": make("Wait", ("hook", "out")), "slow": make("Slow", ("hook", "out"))}, start=True
    )
    for _ in range(3):
        lab.post(flow, "hook", {}, enqueue_only=True)
    until(lambda: lab.platform.flows.get(flow, lab.caller)["stage"] == "stopped", "the stop")
    done = until(
        lambda: [e for e in executions(lab, flow, 3) if e["status"] == "cancelled"][2:] and executions(lab, flow, 3)
    )
    assert {e["reason"] for e in done} == {"flow stopped"}
    assert all(e["ended"] for e in done)


# -- what begins one


def test_a_poll_that_finds_nothing_is_none(lab: Lab, make: Make) -> None:
    lab.component(
        "Poll",
        """
        effects = "state"
        def tick(self, context):
            if context.state.inc("n") == 3:
                context.send({}, "out")
        """,
        inPorts=[],
        tick=True,
    )
    lab.open()
    flow = lab.flow({"poll": make("Poll"), "echo": make("Echo", ("poll", "out"), fields={})})
    for _ in range(5):
        lab.pass_time(100_000)
        lab.idle()
    execution = with_status(lab, flow, "succeeded")
    assert len(executions(lab, flow)) == 1
    assert (execution["trigger"], execution["steps"]) == (lab.ids["poll"], 2)


def test_each_time_a_trigger_fires_is_one(lab: Lab, make: Make) -> None:
    lab.component(
        "Clock",
        """
        effects = "state"
        def start(self, context):
            context.set_timeout({}, 60_000)
        def receive(self, context):
            context.send({}, "out")
            context.set_timeout({}, 60_000)
        """,
        inPorts=[],
    )
    lab.open()
    flow = lab.flow({"clock": make("Clock"), "echo": make("Echo", ("clock", "out"), fields={})})
    for n in range(3):
        lab.pass_time(60)
        lab.outputs(flow, "echo", n + 1)
    done = until(lambda: [e for e in executions(lab, flow, 3) if e["status"] == "succeeded"][2:])
    assert len({e["correlationId"] for e in executions(lab, flow)}) == 3
    assert done[0]["trigger"] == lab.ids["clock"]
    lab.platform.lifecycle.stop(flow)
    assert len(executions(lab, flow)) == 3


def test_messages_of_a_start_hook_begin_one_each_and_those_of_a_stop_hook_none(lab: Lab, make: Make) -> None:
    hooks = 'effects = "none"\ndef start(self, context):\n    context.send({}, "out")\nstop = start'
    lab.component("OnStart", hooks, inPorts=[])
    lab.open()
    flow = lab.flow({"on": make("OnStart"), "echo": make("Echo", ("on", "out"), fields={})})
    until(lambda: not lab.pass_time(0.2) and lab.log(flow, "echo"), "the message, which may wait for the start to end")
    assert with_status(lab, flow, "succeeded")["trigger"] == lab.ids["on"]
    lab.platform.lifecycle.stop(flow)
    until(lambda: any(h["msg"] == "Flow stopped" for h in lab.log(flow)), "the stop in the log")
    assert [e["status"] for e in executions(lab, flow)] == ["succeeded"]


# -- steps


def test_its_steps_with_input_output_and_duration(lab: Lab, make: Make) -> None:
    lab.component(
        "Slow",
        """
        effects = "state"
        def receive(self, context):
            context.log("half way", level="warning")
            context.send({"b": context.messages["in"].content["a"]}, "out")
        """,
        inPorts=[{"name": "in", "schema": {"type": "object"}}],
    )
    lab.component("Broken", BROKEN)
    lab.open()
    slow = make("Slow", ("hook", "out"), fields={"a": "{{{$.@hook@.out.n}}}"})
    flow = lab.flow({"hook": make("Hook"), "slow": slow, "broken": make("Broken", ("slow", "out"))})
    clock = lab.platform.clock

    def tick() -> int:
        lab.clock.ms += 5
        return lab.clock.ms

    clock.now = tick  # type: ignore[method-assign]
    lab.post(flow, "hook", {"n": 7})
    execution = with_status(lab, flow, "failed")
    steps = detail(lab, execution)["steps"]
    assert [step["label"] for step in steps] == ["Hook", "Slow", "Broken"]
    hook, slow, broken = steps
    assert (hook["input"], hook["output"], hook["duration"]) == (None, [{"port": "out", "content": {"n": 7}}], None)
    assert slow["input"] == {"port": "in", "content": {"a": 7}}
    assert slow["output"] == [{"port": "out", "content": {"b": 7}}]
    assert slow["log"] == [{"level": "warning", "content": "half way"}]
    assert slow["duration"] >= 5
    assert slow["duration"] % 5 == 0
    assert broken["input"]["content"] == {"b": 7}
    assert broken["error"]["message"] == "no"
    assert broken["duration"] >= 5
    page = detail(lab, execution, limit=1, offset=1)
    assert ([step["label"] for step in page["steps"]], page["stepsTotal"]) == (["Slow"], 3)


# -- cancelling


def held_up(lab: Lab, make: Make) -> tuple[str, Doc]:
    """A flow whose execution has one step running (it ends when the cache holds "go"), messages and timers waiting."""
    lab.component("Each", EACH.replace('effects = "none"', ""))  # external, so that no other such step runs with it
    lab.component(
        "Held",
        """
        def receive(self, context):
            context.cache_set("running", True, 60_000)
            while not context.cache_get("go"):
                time.sleep(0.01)
            context.send({}, "out")
        """,
    )
    lab.component("Wait", WAIT)
    lab.component("Broken", 'effects = "state"\ndef receive(self, context):\n    raise StepError("no", code="503")')
    lab.open()
    flow = lab.flow(
        {
            "hook": make("Hook"),
            "wait": make("Wait", ("hook", "out")),
            "broken": make("Broken", ("hook", "out")),
            "each": make("Each", ("hook", "out")),
            "held": make("Held", ("each", "out")),
            "echo": make("Echo", ("held", "out"), fields={}),
        }
    )
    lab.post(flow, "hook", {"list": [{"n": n} for n in range(20)]}, enqueue_only=True)
    until(lambda: lab.platform.cache.get("static:running"), "a running step")
    until(lambda: lab.platform.documents.count("timers", Query(where=(Where("flowId", "eq", flow),))) == 2, "timers")
    return flow, with_status(lab, flow, "running")


def test_cancelling_lets_no_further_step_begin(lab: Lab, make: Make) -> None:
    lab.options["step_threads"] = 2
    flow, execution = held_up(lab, make)
    answer = lab.platform.executions.cancel(lab.caller, execution["correlationId"])
    assert (answer["status"], answer["reason"]) == ("cancelled", "cancelled by owner@example.com")
    assert lab.platform.documents.count("timers", Query(where=(Where("flowId", "eq", flow),))) == 0
    begun = len(lab.log(flow, "held"))
    assert detail(lab, execution)["status"] == "cancelled"
    lab.platform.cache.set("static:go", True, 60)
    lab.idle()
    documents = lab.unprocessed(flow, 2)
    reasons = [orjson.loads(doc["err"])["message"] for doc in documents]
    assert set(reasons) == {"execution cancelled"}
    kept = [doc["componentId"] for doc in documents]
    assert lab.ids["broken"] in kept  # the message that waited for another try
    assert lab.ids["wait"] not in kept
    until(lambda: len([h for h in lab.log(flow, "held") if h["portType"] == "out"]) >= 1, "the running step's output")
    assert len([h for h in lab.log(flow, "held") if h["portType"] == "in"]) <= max(begun, 2)
    assert lab.log(flow, "echo") == []
    done = with_status(lab, flow, "cancelled")
    assert (done["reason"], bool(done["ended"])) == ("cancelled by owner@example.com", True)
    assert any("cancelled by" in hit["msg"] for hit in lab.log(flow))


def test_a_cancelled_execution_stays_cancelled(lab: Lab, make: Make) -> None:
    flow, execution = held_up(lab, make)
    lab.platform.executions.cancel(lab.caller, execution["correlationId"])
    lab.platform.executions.cancel(lab.caller, execution["correlationId"])  # again: harmless
    lab.platform.cache.set("static:go", True, 60)
    lab.idle()
    message = next(d for d in lab.unprocessed(flow) if d["componentId"] == lab.ids["broken"])
    with pytest.raises(Conflict, match="cancelled"):
        lab.platform.unprocessed.retry(lab.caller.user_id, message["messageId"])
    lab.close()
    lab.open()
    assert (flow, execution["correlationId"]) in lab.platform.execution._tools.cancelled
    assert with_status(lab, flow, "cancelled")
    lab.platform.lifecycle.stop(flow)
    lab.platform.housekeeping()
    assert (flow, execution["correlationId"]) not in lab.platform.execution._tools.cancelled


def test_only_what_is_open_can_be_cancelled(lab: Lab, make: Make) -> None:
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "echo": make("Echo", ("hook", "out"), fields={})})
    lab.post(flow, "hook", {})
    execution = with_status(lab, flow, "succeeded")
    with pytest.raises(Conflict, match="has ended"):
        lab.platform.executions.cancel(lab.caller, execution["correlationId"])


def test_another_flow_under_the_same_correlation_id_goes_on(lab: Lab, make: Make) -> None:
    _, execution = held_up(lab, make)
    other = lab.flow({"hook": make("Hook"), "echo": make("Echo", ("hook", "out"), fields={"n": 1})})
    lab.platform.executions.cancel(lab.caller, execution["correlationId"])
    lab.post(other, "hook", {}, correlation_id=execution["correlationId"], enqueue_only=True)
    assert lab.outputs(other, "echo") == [{"n": 1}]
    assert executions(lab, other)[0]["status"] in ("running", "succeeded")
    lab.platform.cache.set("static:go", True, 60)


# -- playing again


def again(lab: Lab, execution: Doc, name: str | None = None, revision: str = "newest") -> str:
    component = lab.ids[name] if name else None
    answer = lab.platform.executions.replay(lab.caller, execution["correlationId"], component, revision=revision)
    assert answer["replayOf"] == execution["correlationId"]
    return str(answer["correlationId"])


def test_from_its_trigger(lab: Lab, make: Make) -> None:
    lab.open()
    echo = make("Echo", ("hook", "out"), fields={"n": "{{{$.@hook@.out.n}}}"})
    flow = lab.flow({"hook": make("Hook"), "echo": echo, "end": make("Echo", ("echo", "out"), fields={"m": 1})})
    lab.post(flow, "hook", {"n": 4})
    execution = with_status(lab, flow, "succeeded")
    lab.clock.ms += 1000
    new = again(lab, execution)
    assert lab.outputs(flow, "echo", 2) == [{"n": 4}] * 2
    until(lambda: lab.outputs(flow, "end", 2))
    replay = until(lambda: [e for e in executions(lab, flow, 2) if e["status"] == "succeeded"][1:])[0]
    assert (replay["correlationId"], replay["replayOf"]) == (new, execution["correlationId"])
    assert (replay["trigger"], replay["steps"]) == (lab.ids["hook"], 2)
    records = [hit for hit in lab.log(flow) if hit.get("correlationId") == new]
    assert len(records) == 5
    assert {hit["replayOf"] for hit in records} == {execution["correlationId"]}
    assert not any("replayOf" in hit for hit in lab.log(flow) if hit.get("correlationId") != new)


def test_a_replay_can_be_played_again(lab: Lab, make: Make) -> None:
    lab.component("Each", EACH)
    lab.open()
    fields = {"of": "{{{$.@each@.out.n}}}", "all": "{{{$.@hook@.out.name}}}"}
    first = {"hook": make("Hook"), "each": make("Each", ("hook", "out")), "a": make("Echo", ("each", "out"), fields={})}
    flow = lab.flow({**first, "b": make("Echo", ("a", "out"), fields=fields)})
    lab.post(flow, "hook", {"list": [{"n": 1}, {"n": 2}], "name": "x"})
    execution = with_status(lab, flow, "succeeded")
    expected = [{"of": 1, "all": "x"}, {"of": 2, "all": "x"}]
    for count, start in enumerate(("a", None, "b", None, "b"), 2):
        lab.clock.ms += 1000
        new = again(lab, execution, start)
        outputs = lab.outputs(flow, "b", 2 * count)
        assert sorted(outputs[-2:], key=str) == expected, start
        execution = the(lab, new)


def test_from_a_step_in_a_loop_each_message_has_its_own_scope(lab: Lab, make: Make) -> None:
    lab.component("Each", EACH)
    lab.component("Outside", 'def receive(self, context):\n    context.send({"ok": True}, "out")')
    lab.open()
    fields = {"n": "{{{$.@each@.out.n}}}", "ok": "{{{$.@outside@.out.ok}}}", "from": "{{{$.@hook@.out.who}}}"}
    flow = lab.flow(
        {
            "hook": make("Hook"),
            "each": make("Each", ("hook", "out")),
            "outside": make("Outside", ("each", "out")),
            "last": make("Echo", ("outside", "out"), fields=fields),
        }
    )
    lab.post(flow, "hook", {"list": [{"n": n} for n in range(4)], "who": "me"}, enqueue_only=True)
    execution = with_status(lab, flow, "succeeded")
    again(lab, execution, "last")
    outputs = lab.outputs(flow, "last", 8)
    assert sorted(o["n"] for o in outputs) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert all(o["ok"] and o["from"] == "me" for o in outputs)
    assert len(lab.outputs(flow, "outside", 4)) == 4


def test_the_newest_revision_or_the_original(lab: Lab, make: Make) -> None:
    lab.open()
    steps = {"hook": make("Hook"), "echo": make("Echo", ("hook", "out"), fields={"v": 1, "n": "{{{$.@hook@.out.n}}}"})}
    flow = lab.flow(steps)
    lab.post(flow, "hook", {"n": 5})
    execution = with_status(lab, flow, "succeeded")
    lab.platform.lifecycle.stop(flow)
    record = lab.platform.flows.get(flow, lab.caller)
    text = orjson.dumps(record["flow"]).decode().replace('"v":1', '"v":2')
    lab.platform.flows.save(flow, {"flow": orjson.loads(text)}, lab.caller)
    with pytest.raises(Conflict, match="not running"):
        again(lab, execution)
    lab.platform.lifecycle.start(flow)
    lab.clock.ms += 1000
    again(lab, execution)
    assert lab.outputs(flow, "echo", 2)[1] == {"v": 2, "n": 5}
    lab.clock.ms += 1000
    again(lab, execution, "echo", "original")
    assert lab.outputs(flow, "echo", 3)[2] == {"v": 1, "n": 5}
    lab.platform.documents.delete_many("revisions", (Where("flowId", "eq", flow),))
    with pytest.raises(BadRequest, match=r"revision 1 .* no longer kept"):
        again(lab, execution, "echo", "original")
    lab.clock.ms += 1000
    again(lab, execution, "echo")
    assert lab.outputs(flow, "echo", 4)[3] == {"v": 2, "n": 5}


def test_after_a_wait_the_scope_is_found_in_the_log(lab: Lab, make: Make) -> None:
    lab.component("Wait", WAIT)
    lab.open()
    steps = {"hook": make("Hook"), "wait": make("Wait", ("hook", "out"))}
    flow = lab.flow({**steps, "echo": make("Echo", ("wait", "out"), fields={"n": "{{{$.@hook@.out.n}}}"})})
    lab.post(flow, "hook", {"n": 3}, enqueue_only=True)
    with_status(lab, flow, "waiting")
    lab.pass_time(3600)
    execution = with_status(lab, flow, "succeeded")
    again(lab, execution, "echo")
    assert lab.outputs(flow, "echo", 2) == [{"n": 3}] * 2


def test_a_message_put_in_by_hand(lab: Lab, make: Make) -> None:
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "echo": make("Echo", ("hook", "out"), fields={"n": 1})})
    lab.platform.webhooks.inject(flow, lab.ids["echo"], "in", {"by": "hand"})
    execution = with_status(lab, flow, "succeeded")
    assert execution["trigger"] == lab.ids["echo"]
    again(lab, execution)
    assert lab.outputs(flow, "echo", 2) == [{"by": "hand"}] * 2


def test_a_large_output_comes_back_whole(lab: Lab, make: Make) -> None:
    lab.open()
    echo = make("Echo", ("hook", "out"), fields={"text": "{{{$.@hook@.out.text}}}"})
    flow = lab.flow({"hook": make("Hook"), "echo": echo, "end": make("Answer", ("echo", "out"))})
    lab.post(flow, "hook", {"text": "x" * 100_000})
    execution = with_status(lab, flow, "succeeded")
    new = again(lab, execution)
    hits = until(lambda: [h for h in lab.log(flow, "echo") if h.get("correlationId") == new and h["portType"] == "out"])
    assert hits[0]["cut"] > 100_000


def test_what_cannot_be_played_again_says_why(lab: Lab, make: Make) -> None:
    lab.options["log_data_messages"] = False
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "echo": make("Echo", ("hook", "out"), fields={})})
    lab.post(flow, "hook", {"n": 1})
    execution = with_status(lab, flow, "succeeded")
    with pytest.raises(BadRequest, match="does not keep"):
        again(lab, execution)
    with pytest.raises(BadRequest, match="nothing that came to or from nowhere"):
        lab.platform.executions.replay(lab.caller, execution["correlationId"], "nowhere")


def test_secrets_the_log_does_not_keep_are_not_made_up(lab: Lab, make: Make) -> None:
    lab.open()
    echo = make("Echo", ("hook", "out"), fields={"n": "{{{$.@hook@.out.n}}}"})
    flow = lab.flow({"hook": make("Hook"), "echo": echo})
    lab.post(flow, "hook", {"n": 1, "authorization": "Bearer 4711"})
    execution = with_status(lab, flow, "succeeded")
    with pytest.raises(BadRequest, match="allowMasked"):
        again(lab, execution)
    lab.platform.executions.replay(lab.caller, execution["correlationId"], None, allow_masked=True)
    assert lab.outputs(flow, "echo", 2) == [{"n": 1}] * 2


def test_a_mask_that_was_played_again_is_still_no_secret(lab: Lab, make: Make) -> None:
    """Steps of a replay that took the mask send it on; a replay of that one must be allowed to as well."""
    lab.open()
    fields = {"authorization": "{{{$.@hook@.out.authorization}}}"}
    echo = make("Echo", ("hook", "out"), fields=fields)
    flow = lab.flow({"hook": make("Hook"), "echo": echo, "end": make("Echo", ("echo", "out"), fields={"n": 1})})
    lab.post(flow, "hook", {"authorization": "Bearer 4711"})
    execution = with_status(lab, flow, "succeeded")
    for _ in range(2):
        for start in (None, "echo", "end"):
            with pytest.raises(BadRequest, match="allowMasked"):
                again(lab, execution, start)
        lab.clock.ms += 1000
        new = lab.platform.executions.replay(lab.caller, execution["correlationId"], None, allow_masked=True)
        execution = the(lab, new["correlationId"])


def test_a_large_output_with_a_secret_is_not_kept_whole(lab: Lab, make: Make) -> None:
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "echo": make("Echo", ("hook", "out"), fields={"n": 1})})
    lab.post(flow, "hook", {"text": "x" * 100_000, "authorization": "Bearer 4711"})
    execution = with_status(lab, flow, "succeeded")
    for allowed, says in ((False, "allowMasked"), (True, "kept only a part")):
        with pytest.raises(BadRequest, match=says):
            lab.platform.executions.replay(lab.caller, execution["correlationId"], None, allow_masked=allowed)


def test_indexing_a_batch_again_after_a_crash_changes_nothing(lab: Lab, make: Make) -> None:
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "echo": make("Echo", ("hook", "out"), fields={})})
    appended: list[Doc] = []
    append, twice = lab.platform.log_index.append, threading.Lock()

    def repeated(records: Sequence[Doc]) -> None:
        with twice:
            append(records)
            appended.extend(records)
            append(records)
            append(appended)

    lab.platform.log_index.append = repeated  # type: ignore[method-assign]
    for n in range(10):
        lab.post(flow, "hook", {"n": n}, enqueue_only=bool(n % 2))
    done = until(
        lambda: [e for e in executions(lab, flow, 10) if e["status"] == "succeeded"][9:] and executions(lab, flow)
    )
    assert [e["steps"] for e in done] == [2] * 10
    assert lab.platform.log_index.count_executions(ExecutionQuery(statuses=("running",))) == 0
