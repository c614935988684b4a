"""Start, stop, edit, restart: what happens to hooks, messages, timers and state (design.md §4.2)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from engine.errors import BadRequest, NotFound
from tests.integration.engine.conftest import until

Make = Callable[..., dict[str, Any]]

STARTER = """
effects = "state"
def start(self, context):
    context.flow_state.add_to_set("started", context.component_label)
    context.send({"at": "start"}, "out")
def stop(self, context):
    context.service_state.inc("stopped:" + context.component_label)
def receive(self, context):
    pass
"""


def test_messages_of_start_hooks_wait_until_all_have_run(lab: Any, make: Make) -> None:
    lab.component("Starter", STARTER, inPorts=[])
    lab.component(
        "Sees",
        """
        effects = "state"
        def receive(self, context):
            context.send({"seen": sorted(context.flow_state.get("started"))}, "out")
        """,
    )
    lab.open()
    a, b = make("Starter"), make("Starter")
    a["label"], b["label"] = "a", "b"
    flow = lab.flow({"a": a, "sees": make("Sees", ("a", "out")), "b": b})
    # it is put back while the flow is starting, and timers look again in a moment
    until(lambda: lab.pass_time(0.2) or [h for h in lab.log(flow, "sees") if h["portType"] == "out"], "an output")
    assert lab.outputs(flow, "sees") == [{"seen": ["a", "b"]}]


def test_a_failing_start_hook_stops_those_already_started(lab: Any, make: Make) -> None:
    lab.component("Starter", STARTER, inPorts=[])
    lab.component("Refuses", "def start(self, context):\n    raise StepError('no licence')", inPorts=[])
    lab.open()
    first = make("Starter")
    first["label"] = "first"
    flow = lab.flow({"first": first, "refuses": make("Refuses")}, start=False)
    with pytest.raises(BadRequest, match="no licence"):
        lab.platform.lifecycle.start(flow)
    assert lab.platform.documents.get("flows", flow)["stage"] == "stopped"
    assert lab.platform.state.get("service:test.lab", "stopped:first") == 1
    until(lambda: [h for h in lab.log(flow) if "did not start" in h["msg"]], "a log line")
    assert lab.platform.bus.depth() == 0


def test_an_unfinished_flow_is_saved_but_not_started(lab: Any, make: Make) -> None:
    lab.open()
    unknown = lab.flow({"a": make("Hook"), "b": make("test.lab.core.Nothing", ("a", "out"))}, start=False)
    with pytest.raises(BadRequest) as caught:
        lab.platform.lifecycle.start(unknown)
    assert caught.value.details[0]["componentId"] == lab.ids["b"]
    assert "unknown component test.lab.core.Nothing" in caught.value.message
    empty = lab.flow({}, start=False)
    with pytest.raises(BadRequest, match="no components"):
        lab.platform.lifecycle.start(empty)


def test_waiting_messages_of_a_stopped_flow_become_unprocessed(lab: Any, make: Make) -> None:
    lab.component(
        "Slow",
        """
        def receive(self, context):
            context.state.inc("entered")
            while not context.cache_get("go"):
                time.sleep(0.01)
            context.send({}, "out")
        """,
    )
    lab.options["step_threads"] = 1
    lab.open()
    flow = lab.flow(
        {"hook": make("Hook"), "slow": make("Slow", ("hook", "out")), "after": make("Echo", ("slow", "out"))}
    )
    for n in range(3):
        lab.post(flow, "hook", {"n": n}, enqueue_only=True)
    owner = f"component:{flow}:{lab.ids['slow']}"
    until(lambda: lab.platform.state.get(owner, "entered") == 1 and lab.platform.bus.depth() == 3, "a busy step")
    lab.platform.lifecycle.stop(flow)
    lab.platform.cache.set("static:go", True, 60)
    records = lab.unprocessed(flow, 3)
    assert {orjson.loads(r["err"])["message"] for r in records} == {"flow stopped"}
    lab.idle()
    assert lab.log(flow, "after") == []
    with pytest.raises(NotFound, match="stopped"):
        lab.post(flow, "hook", {})
    assert lab.platform.state.load(owner) == {}


def test_stop_is_harmless_when_repeated_and_removes_timers(lab: Any, make: Make) -> None:
    lab.component("Later", 'effects = "state"\ndef receive(self, context):\n    context.set_timeout({}, 60000)')
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "later": make("Later", ("hook", "out"))})
    lab.post(flow, "hook", {}, enqueue_only=True)
    lab.idle()
    assert lab.platform.documents.count("timers") == 1
    lab.platform.lifecycle.stop(flow)
    lab.platform.lifecycle.stop(flow)
    assert lab.platform.documents.count("timers") == 0


def test_messages_of_an_earlier_run_do_not_run_in_a_later_one(lab: Any, make: Make) -> None:
    lab.component("Later", 'effects = "state"\ndef receive(self, context):\n    context.set_timeout({}, 60000)')
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "later": make("Later", ("hook", "out"))})
    lab.post(flow, "hook", {}, enqueue_only=True)
    lab.idle()
    stale = lab.platform.documents.find("timers")[0]
    lab.platform.lifecycle.stop(flow)
    lab.platform.lifecycle.start(flow)
    lab.platform.documents.put("timers", stale)
    lab.pass_time(61)
    lab.idle()
    assert lab.platform.documents.count("timers") == 0
    assert not [h for h in lab.log(flow, "later") if h["severity"] == "error"]


def test_an_edit_of_a_running_flow_keeps_the_run(lab: Any, make: Make) -> None:
    lab.component(
        "Later",
        """
        effects = "state"
        def receive(self, context):
            if "timeout" in context.messages:
                context.send({"back": True}, "out")
            else:
                context.set_timeout({}, 60000)
        """,
    )
    lab.open()
    flow = lab.flow(
        {
            "hook": make("Hook"),
            "later": make("Later", ("hook", "out")),
            "echo": make("Echo", ("later", "out"), fields={"version": "old"}),
        }
    )
    lab.post(flow, "hook", {}, enqueue_only=True)
    lab.idle()
    record = lab.platform.documents.get("flows", flow)
    assert record is not None
    edited = orjson.loads(orjson.dumps(record["flow"]).replace(b'"old"', b'"new"'))
    lab.platform.flows.save(flow, {"flow": edited}, lab.caller, force=True)
    lab.post(flow, "hook", {}, enqueue_only=True)
    lab.idle()
    lab.pass_time(61)
    # the message that was under way finishes on its own revision
    assert sorted(c["version"] for c in lab.inputs(flow, "echo", 2)) == ["new", "old"]


def test_timers_and_messages_survive_a_restart(lab: Any, make: Make) -> None:
    lab.component(
        "Later",
        """
        effects = "state"
        def receive(self, context):
            if "timeout" in context.messages:
                context.send(context.messages["timeout"].content, "out")
            else:
                context.set_timeout({"kept": context.messages["in"].content}, 60000)
        """,
    )
    lab.open()
    fields = {"n": "{{{$.@hook@.out.n}}}", "kept": "{{{$.@later@.out.kept.n}}}"}
    flow = lab.flow(
        {
            "hook": make("Hook"),
            "later": make("Later", ("hook", "out")),
            "echo": make("Echo", ("later", "out"), fields=fields),
        }
    )
    lab.post(flow, "hook", {"n": 5}, enqueue_only=True)
    lab.idle()
    lab.close()
    lab.open()
    lab.pass_time(61)
    assert lab.inputs(flow, "echo") == [{"n": 5, "kept": 5}]
    assert lab.pass_time(61) == 0


def test_a_flow_left_in_the_middle_of_a_start_is_put_right(lab: Any, make: Make) -> None:
    lab.component("Starter", STARTER, inPorts=[])
    lab.open()
    one = make("Starter")
    one["label"] = "one"
    flow = lab.flow({"one": one}, start=False)
    lab.platform.documents.update("flows", flow, {"stage": "starting", "run": 5})
    lab.close()
    lab.open()
    assert lab.platform.documents.get("flows", flow)["stage"] == "stopped"
    assert lab.platform.state.get("service:test.lab", "stopped:one") == 1
    lab.platform.lifecycle.start(flow)


def test_ticks_come_each_interval_and_missed_ones_are_skipped(lab: Any, make: Make) -> None:
    lab.component(
        "Tick", 'effects = "state"\ndef tick(self, context):\n    context.send({"n": context.state.inc("n")}, "out")',
        inPorts=[], tick=True,
    )  # fmt: skip
    lab.open()
    flow = lab.flow({"tick": make("Tick")})
    lab.pass_time(0)
    assert lab.outputs(flow, "tick", 1) == [{"n": 1}]
    lab.pass_time(60)
    assert lab.outputs(flow, "tick", 2) == [{"n": 1}, {"n": 2}]
    lab.pass_time(600)
    assert len(lab.outputs(flow, "tick", 3)) == 3
    lab.idle()
    assert lab.pass_time(59) == 0


def test_a_failing_tick_is_logged_and_not_retried(lab: Any, make: Make) -> None:
    lab.component("Tick", "def tick(self, context):\n    raise StepError('offline')", inPorts=[], tick=True)
    lab.open()
    flow = lab.flow({"tick": make("Tick")})
    lab.pass_time(0)
    assert "offline" in lab.errors(flow, "tick")[0]["msg"]
    lab.idle()
    assert lab.platform.documents.count("unprocessed") == 0
    assert lab.platform.documents.count("timers") == 1


def test_signals_reach_every_component_that_listens(lab: Any, make: Make) -> None:
    lab.component("Sender", 'effects = "state"\ndef receive(self, context):\n    context.send_signal({"x": 1})')
    lab.component(
        "Listener", 'effects = "state"\ndef signal(self, context):\n    context.send(context.signal_content, "out")',
        inPorts=[],
    )  # fmt: skip
    lab.open()
    flow = lab.flow(
        {"hook": make("Hook"), "s": make("Sender", ("hook", "out")), "a": make("Listener"), "b": make("Listener")}
    )
    lab.post(flow, "hook", {}, enqueue_only=True)
    assert lab.outputs(flow, "a") == [{"x": 1}]
    assert lab.outputs(flow, "b") == [{"x": 1}]


def test_a_component_can_stop_its_flow(lab: Any, make: Make) -> None:
    lab.component("Stop", 'effects = "state"\ndef receive(self, context):\n    context.stop_flow()')
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "stop": make("Stop", ("hook", "out"))})
    lab.post(flow, "hook", {}, enqueue_only=True)
    until(lambda: lab.platform.documents.get("flows", flow)["stage"] == "stopped", "a stopped flow")


def test_fire_patterns_hold_messages_until_a_row_matches(lab: Any, make: Make) -> None:
    lab.component(
        "Both",
        """
        effects = "state"
        def receive(self, context):
            m = context.messages
            context.send({"a": m["a"].content["v"], "b": [i.content["v"] for i in m["b"].batch]}, "out")
        """,
        inPorts=[{"name": "a", "schema": {"type": "object"}}, {"name": "b", "schema": {"type": "object"}}],
        firePatterns=[1, 1],
    )
    lab.open()
    both = make("Both", ("left", "out"), fields={"v": "{{{$.@left@.out.v}}}"}, port="a")
    right = make("Both", ("right", "out"), fields={"v": "{{{$.@right@.out.v}}}"}, port="b")
    both["source"].update(right["source"])
    both["config"]["transform"].update(right["config"]["transform"])
    flow = lab.flow({"left": make("Hook"), "right": make("Hook"), "both": both})
    for n in (1, 2):
        lab.post(flow, "right", {"v": n}, enqueue_only=True)
    lab.idle()
    assert lab.log(flow, "both") == []
    lab.post(flow, "left", {"v": 0}, enqueue_only=True)
    assert lab.outputs(flow, "both") == [{"a": 0, "b": [1, 2]}]
    lab.idle()
    assert all(d.get("taken") for d in lab.platform.documents.find("gather_items"))
    lab.clock.ms += 3_700_000
    lab.platform.housekeeping()
    assert lab.platform.documents.count("gather_items") == 0


def test_a_quota_lets_only_so_many_run_at_a_time(lab: Any, make: Make) -> None:
    lab.module_file("quota.py", "from engine.sdk import Quota\n\nrules = [Quota(limit=2, resource='calls')]\n")
    lab.component(
        "Limited",
        """
        def receive(self, context):
            running = context.state.inc("running")
            context.state.inc("running", -1) if running > 2 else None
            if running > 2:
                raise CancelError("too many at a time")
            while not context.cache_get("go"):
                time.sleep(0.01)
            context.state.inc("running", -1)
            context.send({}, "out")
        """,
        quota={"manager": "test:lab", "resources": "calls"},
    )
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "limited": make("Limited", ("hook", "out"))})
    for _ in range(6):
        lab.post(flow, "hook", {}, enqueue_only=True)
    owner = f"component:{flow}:{lab.ids['limited']}"
    until(lambda: lab.platform.state.get(owner, "running") == 2, "two running")
    lab.platform.cache.set("static:go", True, 60)

    def finished() -> bool:
        lab.pass_time(0.2)
        return len([h for h in lab.log(flow, "limited") if h["portType"] == "out"]) == 6

    until(finished, "all six")
    assert not [h for h in lab.log(flow, "limited") if h["severity"] == "error"]


def test_a_call_back_brings_the_scope_of_its_execution(lab: Any, make: Make) -> None:
    lab.component(
        "Asks",
        """
        def receive(self, context):
            if "webhook" in context.messages:
                context.send(context.messages["webhook"].content["data"], "out")
                context.respond("thanks")
            else:
                context.send({"url": context.webhook_url()}, "asked")
        """,
        outPorts=["asked", "out"],
        webhook=True,
    )
    lab.open()
    fields = {"order": "{{{$.@hook@.out.order}}}", "said": "{{{$.@asks@.out.said}}}"}
    flow = lab.flow(
        {
            "hook": make("Hook"),
            "asks": make("Asks", ("hook", "out")),
            "echo": make("Echo", ("asks", "out"), fields=fields),
        }
    )
    lab.post(flow, "hook", {"order": 77}, enqueue_only=True)
    url = lab.outputs(flow, "asks")[0]["url"]
    correlation = url.partition("correlationId=")[2]
    assert lab.post(flow, "asks", {"said": "yes"}, correlation_id=correlation).body == "thanks"
    assert lab.inputs(flow, "echo") == [{"order": 77, "said": "yes"}]


def test_static_calls_return_what_the_component_sends(lab: Any, make: Make) -> None:
    lab.component(
        "List",
        """
        def receive(self, context):
            shelf = context.messages["in"].content["shelf"]
            context.send([shelf, context.properties["isSource"], context.user_id], "out")
        """,
    )
    (lab.folder / "connectors/test/lab/core/List/transformers.py").write_text(
        "def to_options(items):\n    return [{'label': str(i), 'value': i} for i in items]\n"
    )
    lab.open()
    call = lab.platform.components.call
    given = {"messages": {"in/shelf": "A"}, "properties": {"isSource": True}, "user_id": "u1"}
    assert call("test.lab.core.List", "out", **given) == ["A", True, "u1"]
    options = call("test/lab/core/List", "out", transform="./transformers#to_options", **given)
    assert options[0] == {"label": "A", "value": "A"}
    with pytest.raises(NotFound, match="no transform"):
        call("test.lab.core.List", "out", transform="../../../../etc/passwd#x", **given)
    with pytest.raises(NotFound, match="no out port"):
        call("test.lab.core.List", "sideways", user_id="u1")


def test_two_starts_at_once_start_once(lab: Any, make: Make) -> None:
    lab.component(
        "Starter", 'effects = "state"\ndef start(self, context):\n    context.service_state.inc("starts")', inPorts=[]
    )
    lab.open()
    flow = lab.flow({"one": make("Starter")}, start=False)
    barrier = threading.Barrier(4)
    errors: list[Exception] = []

    def begin() -> None:
        barrier.wait()
        try:
            lab.platform.lifecycle.start(flow)
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert lab.platform.state.get("service:test.lab", "starts") == 1
    assert lab.platform.documents.get("flows", flow)["stage"] == "running"
    assert all(getattr(e, "status", 0) == 409 for e in errors)


def test_a_stop_hook_that_kills_its_process_is_left_out_in_the_end(lab: Any, make: Make) -> None:
    lab.component(
        "Deadly", 'effects = "state"\ndef stop(self, context):\n    context.service_state.inc("stops")', inPorts=[]
    )
    lab.open()
    flow = lab.flow({"one": make("Deadly")})
    stuck = {"stage": "stopping", "resumes": 3}
    lab.platform.documents.update("flows", flow, stuck)
    lab.close()
    lab.open()
    assert lab.platform.documents.get("flows", flow)["stage"] == "stopped"
    assert lab.platform.state.get("service:test.lab", "stops") is None
