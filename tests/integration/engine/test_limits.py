"""What bounds one execution and one message: messages caused, waits for a quota, faults of their handling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from engine.errors import Unavailable
from engine.model.execution import ExecutionRow
from engine.ports import Query, Where
from tests.integration.engine.conftest import Lab, until

Make = Callable[..., dict[str, Any]]
Doc = dict[str, Any]
MOST = 2000


def limited(lab: Lab) -> None:
    lab.options["execution_messages"] = MOST
    lab.open()


def ended(lab: Lab, flow: str) -> ExecutionRow:
    """The execution of the flow, once it has ended and nothing of it is left."""
    lab.idle()

    def found() -> ExecutionRow | None:
        for hit in lab.log(flow):
            for row in lab.platform.log_index.execution(hit.get("correlationId") or ""):
                if not row.is_open:
                    return row
        return None

    return until(found, "the end of the execution")  # type: ignore[no-any-return]


def is_told(lab: Lab, flow: str, row: ExecutionRow) -> None:
    assert row.status == "cancelled"
    assert str(MOST) in str(row.reason)
    assert "lab" in str(row.reason)
    lines = [hit for hit in lab.log(flow) if hit["type"] == "flow" and hit["severity"] == "error"]
    assert [hit["correlationId"] for hit in lines] == [row.correlation_id]
    assert str(MOST) in lines[0]["msg"]
    assert flow in lines[0]["msg"]
    assert "HEADRACE_EXECUTION_MESSAGES" in lines[0]["msg"]


# -- messages of an execution


RING = """
effects = "{effects}"
def receive(self, context):
    context.send_signal({{}})
def signal(self, context):
    context.send_signal({{}})
"""


@pytest.mark.parametrize("effects", ["none", "external"])
def test_an_execution_that_goes_round_for_ever_is_ended(lab: Lab, make: Make, effects: str) -> None:
    lab.component("Ring", RING.format(effects=effects), outPorts=[])
    limited(lab)
    flow = lab.flow({"hook": make("Hook"), "ring": make("Ring", ("hook", "out"))})
    lab.post(flow, "hook", {}, enqueue_only=True)
    row = ended(lab, flow)
    is_told(lab, flow, row)
    assert MOST * 0.99 <= row.steps <= MOST * 1.01 + 2
    lab.post(flow, "hook", {}, enqueue_only=True)  # the flow itself runs on
    until(lambda: lab.platform.bus.depth(flow), "another execution")


def test_time_outs_that_follow_each_other_for_ever_are_ended(lab: Lab, make: Make) -> None:
    again = 'effects = "state"\ndef receive(self, context):\n    context.set_timeout({}, 1000)'
    lab.component("Again", again, outPorts=[])
    lab.options["execution_messages"] = 20
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "again": make("Again", ("hook", "out"))})
    lab.post(flow, "hook", {}, enqueue_only=True)
    rounds = 0
    timers = lab.platform.documents
    lab.idle()
    while timers.count("timers"):
        rounds += 1
        assert rounds < 30
        lab.pass_time(1)
        lab.idle()
    assert 17 <= rounds <= 20
    assert ended(lab, flow).status == "cancelled"


def test_many_parallel_branches_count_together(lab: Lab, make: Make) -> None:
    fan = 'effects = "state"\ndef receive(self, context):\n    context.send_array([{}] * 60, "out")'
    lab.component("Fan", fan)
    lab.component("Sink", "def receive(self, context):\n    pass")
    limited(lab)
    flow = lab.flow(
        {
            "hook": make("Hook"),
            "one": make("Fan", ("hook", "out")),
            "two": make("Fan", ("one", "out")),
            "sink": make("Sink", ("two", "out")),
        }
    )
    lab.post(flow, "hook", {}, enqueue_only=True)
    is_told(lab, flow, ended(lab, flow))
    begun = [hit for hit in lab.log(flow, "sink") if hit["portType"] == "in"]
    assert len(begun) < MOST


@pytest.mark.parametrize("effects", ["state", "external"])
def test_a_step_that_sends_for_ever_is_ended(lab: Lab, make: Make, effects: str) -> None:
    lab.component(
        "Flood",
        f"""
        effects = "{effects}"
        def receive(self, context):
            for n in range(40_000):
                context.send({{}}, "out")
            context.state.set("done", True)
        """,
    )
    lab.component("Sink", "def receive(self, context):\n    pass")
    limited(lab)
    flow = lab.flow(
        {"hook": make("Hook"), "flood": make("Flood", ("hook", "out")), "sink": make("Sink", ("flood", "out"))}
    )
    lab.post(flow, "hook", {}, enqueue_only=True)
    is_told(lab, flow, ended(lab, flow))
    sent = [hit for hit in lab.log(flow, "flood") if hit["portType"] == "out"]
    assert MOST <= len(sent) <= MOST + 1000
    kept = [doc for doc in lab.unprocessed(flow, 2) if doc["componentId"] == lab.ids["flood"]]
    assert [orjson.loads(doc["err"])["code"] for doc in kept] == ["EXECUTION_CANCELLED"]
    owner = f"component:{flow}:{lab.ids['flood']}"
    assert lab.platform.state.get(owner, "done") is (True if effects == "external" else None)


def test_a_cancelled_step_sends_no_further_windows(lab: Lab, make: Make) -> None:
    lab.component(
        "Flood",
        """
        effects = "state"
        def receive(self, context):
            for n in range(5_000):
                context.send({}, "out")
                while n == 999 and not context.cache_get("go"):
                    time.sleep(0.01)
        """,
    )
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "flood": make("Flood", ("hook", "out"))})
    lab.post(flow, "hook", {}, enqueue_only=True)

    def running() -> str | None:
        hits = [hit for hit in lab.log(flow, "flood") if hit["portType"] == "out"]
        return hits[0]["correlationId"] if len(hits) >= 1000 else None

    lab.platform.executions.cancel(lab.caller, until(running, "two windows"))
    lab.platform.cache.set("static:go", True, 60)
    lab.idle()
    assert len(lab.unprocessed(flow)) == 1
    assert lab.errors(flow, "flood")
    assert len(lab.outputs(flow, "flood", 1000)) == 1000


def test_what_a_cancelled_execution_leaves_waiting_is_kept_up_to_a_number(
    lab: Lab, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.services.failing.KEPT", 50)
    test_many_parallel_branches_count_together(lab, make)
    flow = lab.platform.documents.find("flows")[0]["_id"]
    assert lab.platform.documents.count("unprocessed", Query(where=(Where("flowId", "eq", flow),))) == 50


def test_messages_that_are_held_back_are_no_steps(lab: Lab, make: Make) -> None:
    lab.module_file("quota.py", "from engine.sdk import Quota\n\nrules = [Quota(limit=1)]\n")
    lab.component("Limited", "def receive(self, context):\n    pass", quota={"manager": "test:lab"})
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "limited": make("Limited", ("hook", "out"))})
    key = "quota:test:lab:*:0:"
    assert lab.platform.cache.acquire_slot(key, "somebody", 1, 600)
    lab.post(flow, "hook", {}, enqueue_only=True)
    timers = lab.platform.documents
    for _ in range(3):
        until(lambda: timers.count("timers"), "a message that waits")
        lab.pass_time(0.2)
    until(lambda: timers.count("timers"), "a message that waits")
    lab.platform.cache.release_slot(key, "somebody")
    lab.pass_time(0.2)
    assert ended(lab, flow).steps == 2


# -- quotas


def quota_flow(lab: Lab, make: Make, rules: str, **quota: Any) -> str:
    lab.module_file("quota.py", f"from engine.sdk import Quota\n\n{rules}\n")
    lab.component(
        "Limited", 'def receive(self, context):\n    context.send({}, "out")', quota={"manager": "test:lab", **quota}
    )
    lab.open()
    return lab.flow({"hook": make("Hook"), "limited": make("Limited", ("hook", "out"))})


@pytest.mark.parametrize("rules", ["raise ValueError('broken')", "rules = [Quota(limit='many')]", "rules = [7]"])
def test_rules_that_do_not_work_fail_their_message(lab: Lab, make: Make, rules: str) -> None:
    lab.options["retry_attempts"] = 1
    flow = quota_flow(lab, make, rules)
    lab.post(flow, "hook", {}, enqueue_only=True)
    (kept,) = lab.unprocessed(flow)
    assert kept["componentId"] == lab.ids["limited"]
    assert "quota" in orjson.loads(kept["err"])["message"]
    lab.idle()


def test_a_message_waits_for_a_slot_no_longer_than_its_manifest_says(lab: Lab, make: Make) -> None:
    lab.options["retry_attempts"] = 2
    flow = quota_flow(lab, make, "rules = [Quota(limit=1)]", maxWait=5000)
    key = "quota:test:lab:*:0:"
    assert lab.platform.cache.acquire_slot(key, "somebody", 1, 600)
    lab.post(flow, "hook", {}, enqueue_only=True)
    held = Query(where=(Where("kind", "eq", "retry"),))
    for seconds in (1, 3.9, 0.3, 1, 1, 3.9, 0.3):  # the first try, the pause, and the second, which waits anew
        until(lambda: lab.platform.documents.find("timers", held), "a message that waits")
        assert lab.platform.documents.count("unprocessed") == 0
        lab.pass_time(seconds)
        lab.idle()
    (kept,) = lab.unprocessed(flow)
    reason = orjson.loads(kept["err"])
    assert reason["code"] == "QUOTA_MAX_WAIT"
    assert "5 seconds" in reason["message"]
    assert len(lab.errors(flow, "limited", 2)) == 2


# -- the handling of a message


def test_a_message_whose_handling_fails_again_and_again_is_put_away(
    lab: Lab, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.steps.AGAIN", 0.01)
    lab.component("Outside", 'def receive(self, context):\n    context.send({}, "out")')
    lab.open()
    flow = lab.flow(
        {
            "hook": make("Hook"),
            "first": make("Outside", ("hook", "out")),
            "bad": make("Outside", ("first", "out")),
            "good": make("Outside", ("first", "out")),
        }
    )
    finish = lab.platform.execution._finish
    tries = 0

    def broken(running: Any, plan: Any, step: Any, *rest: Any) -> None:
        nonlocal tries
        if step.id == lab.ids["bad"]:
            tries += 1
            raise RuntimeError("a fault of the platform")
        finish(running, plan, step, *rest)

    monkeypatch.setattr(lab.platform.execution, "_finish", broken)
    lab.post(flow, "hook", {}, enqueue_only=True)
    (kept,) = lab.unprocessed(flow)
    reason = orjson.loads(kept["err"])
    assert (kept["componentId"], reason["code"]) == (lab.ids["bad"], "HANDLING_FAILED")
    assert "a fault of the platform" in reason["message"]
    assert lab.outputs(flow, "good")
    lab.idle()
    assert tries == 5
    assert len(lab.errors(flow, "bad")) == 1


def test_a_message_waits_as_long_as_the_platform_is_not_there(
    lab: Lab, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.steps.LONGEST", 0.001)
    flow = quota_flow(lab, make, "rules = [Quota(limit=1)]")
    acquire, tries = lab.platform.cache.acquire_slot, 0

    def away(*given: Any) -> bool:
        nonlocal tries
        tries += 1
        if tries < 9:
            raise Unavailable("the cache is away")
        return acquire(*given)

    monkeypatch.setattr(lab.platform.cache, "acquire_slot", away)
    lab.post(flow, "hook", {}, enqueue_only=True)
    assert lab.outputs(flow, "limited")
    lab.idle()
    assert lab.platform.documents.count("unprocessed") == 0
    assert not [hit for hit in lab.log(flow, "limited") if hit["severity"] == "error"]


def test_an_outcome_that_cannot_be_stored_at_all_is_put_away(
    lab: Lab, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.steps.LONGEST", 0.001)
    lab.component("Outside", 'def receive(self, context):\n    context.send({}, "out")')
    lab.open()
    steps = {"hook": make("Hook"), "first": make("Outside", ("hook", "out"))}
    flow = lab.flow({**steps, "outside": make("Outside", ("first", "out"))})
    settle = lab.platform.bus.settle

    def refuses(delivery: Any, settlement: Any) -> Any:
        kept = any(write.collection == "unprocessed" for write in settlement.writes)
        if delivery is not None and delivery.message.component_id == lab.ids["outside"] and not kept:
            raise TypeError("not JSON: a thing")
        return settle(delivery, settlement)

    monkeypatch.setattr(lab.platform.bus, "settle", refuses)
    lab.post(flow, "hook", {}, enqueue_only=True)
    (kept,) = lab.unprocessed(flow)
    assert orjson.loads(kept["err"])["code"] == "HANDLING_FAILED"
    lab.idle()


# -- steps over their limit


def test_nothing_comes_of_a_step_that_was_given_up(lab: Lab, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("windows", "context", "execution"):
        monkeypatch.setattr(f"engine.services.{module}.WINDOW", 10)
    lab.component(
        "Late",
        """
        effects = "state"
        def receive(self, context):
            for n in range(25):
                context.send({"n": n}, "out")
                while n == 12 and not context.cache_get("go"):
                    time.sleep(0.01)
            context.state.set("ended", True)
        """,
    )
    lab.component(
        "Hangs",
        """
        effects = "state"
        def receive(self, context):
            while not context.cache_get("go"):
                time.sleep(0.01)
            context.flow_state.set("left", True)
            context.send({}, "out")
        """,
    )
    lab.component("Next", 'effects = "state"\ndef receive(self, context):\n    context.flow_state.set("next", True)')
    lab.options["receive_timeout"] = 0.4
    lab.open()
    flow = lab.flow(
        {
            "hook": make("Hook"),
            "late": make("Late", ("hook", "out")),
            "hangs": make("Hangs", ("hook", "out")),
            "next": make("Next", ("hangs", "out")),
        }
    )
    for name in ("late", "hangs"):
        lab.platform.webhooks.inject(flow, lab.ids[name], "in", {})
    kept = lab.unprocessed(flow, 2)
    assert {orjson.loads(doc["err"])["code"] for doc in kept} == {"RECEIVE_TIMEOUT"}
    lab.platform.cache.set("static:go", True, 60)
    until(lambda: lab.workers._steps.hanging == 0, "the late end of both")
    lab.idle()
    assert lab.platform.state.get(f"flow:{flow}", "left")  # what it did by itself cannot be undone
    assert lab.platform.state.get(f"flow:{flow}", "next") is None
    assert lab.platform.state.get(f"component:{flow}:{lab.ids['late']}", "ended") is None
    assert sorted(content["n"] for content in lab.outputs(flow, "late", 10)) == list(range(10))
    assert len(lab.unprocessed(flow, 2)) == 2
