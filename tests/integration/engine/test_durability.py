"""What a crash may and may not repeat: ledger, windows of emissions, gathers, shares of the pool."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from engine.model.message import encode
from engine.ports import Query, Where
from engine.services import windows
from tests.integration.engine.conftest import Lab, until

Make = Callable[..., dict[str, Any]]

CALLS = """
made = []
def receive(self, context):
    self.made.append(context.message_id)
    context.send({"n": context.messages["in"].content["n"]}, "out")
"""

BLOCKS = """
effects = "state"
def receive(self, context):
    while context.cache_get("block"):
        time.sleep(0.01)
    context.send(context.messages["in"].content, "out")
"""


def crash(lab: Lab) -> None:
    """As kill -9 leaves it: nothing in memory survives, and what was not settled is still there.

    Threads of the dead process still run here, so whatever they try afterwards must fail.
    """
    lab.workers.stop(0)
    lab.platform.close()
    lab.is_open = False


@pytest.mark.parametrize("ledger", [True, False])
def test_a_call_that_was_made_is_not_repeated(lab: Lab, make: Make, ledger: bool) -> None:
    """The process dies after the call, in a step that runs on behind it. Without the ledger it is repeated."""
    lab.component("Calls", CALLS)
    lab.component("Blocks", BLOCKS)
    lab.options["ledger"] = ledger
    lab.open()
    flow = lab.flow(
        {"hook": make("Hook"), "calls": make("Calls", ("hook", "out")), "blocks": make("Blocks", ("calls", "out"))}
    )
    lab.platform.cache.set("static:block", True, 600)
    lab.post(flow, "hook", {"n": 1}, enqueue_only=True)
    made = lab.platform.catalogue.require("test.lab.core.Calls").behaviour.made  # type: ignore[attr-defined]
    until(lambda: made, "a call")
    if ledger:
        done = Query(where=(Where("state", "eq", "done"),))
        until(lambda: lab.platform.documents.count("ledger", done) == 1, "a ledger entry")
    blocked = lab.platform
    crash(lab)
    blocked.cache.delete("static:block")
    lab.open()
    assert lab.outputs(flow, "blocks") == [{"n": 1}]
    assert len(made) == (1 if ledger else 2)
    assert lab.platform.metrics.registry.get_sample_value("headrace_external_repeats_total") == 0
    lab.idle()
    assert len(lab.inputs(flow, "calls")) == 1
    assert lab.platform.documents.count("ledger") == 0


def test_a_call_under_way_is_repeated_and_counted(lab: Lab, make: Make) -> None:
    lab.component(
        "Calls",
        """
        def receive(self, context):
            while context.cache_get("block"):
                time.sleep(0.01)
            context.send({}, "out")
        """,
    )
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "calls": make("Calls", ("hook", "out"))})
    lab.platform.cache.set("static:block", True, 600)
    lab.post(flow, "hook", {}, enqueue_only=True)
    until(lambda: lab.platform.documents.count("ledger") == 1, "a ledger entry")
    blocked = lab.platform
    crash(lab)
    blocked.cache.delete("static:block")
    lab.open()
    assert lab.outputs(flow, "calls") == [{}]
    assert lab.platform.metrics.registry.get_sample_value("headrace_external_repeats_total") == 1


def test_a_call_that_failed_leaves_nothing_in_the_ledger(lab: Lab, make: Make) -> None:
    lab.component("Fails", 'def receive(self, context):\n    raise StepError("no", retryable=False)', outPorts=[])
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "fails": make("Fails", ("hook", "out"))})
    lab.post(flow, "hook", {}, enqueue_only=True)
    lab.unprocessed(flow)
    lab.idle()
    assert lab.platform.documents.count("ledger") == 0


def test_windows_go_on_where_they_were(lab: Lab, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "WINDOW", 10)
    monkeypatch.setattr("engine.services.context.WINDOW", 10)
    monkeypatch.setattr("engine.services.execution.WINDOW", 10)
    lab.component(
        "Many",
        """
        effects = "state"
        def receive(self, context):
            for n in range(55):
                if n == 33 and not context.cache_get("go"):
                    while not context.cache_get("die"):
                        time.sleep(0.01)
                    raise SystemExit
                context.send({"n": n}, "out")
        """,
    )
    lab.open()
    flow = lab.flow(
        {
            "hook": make("Hook"),
            "many": make("Many", ("hook", "out")),
            "each": make("Echo", ("many", "out"), fields={"n": "{{{$.@many@.out.n}}}"}),
        }
    )
    lab.post(flow, "hook", {}, enqueue_only=True)
    until(lambda: (lab.platform.documents.find("windows") or [{}])[0].get("emitted") == 30, "three windows")
    blocked = lab.platform
    crash(lab)
    blocked.cache.set("static:die", True, 600)
    lab.open(lambda platform: platform.cache.set("static:go", True, 600))
    numbers = [c["n"] for c in lab.inputs(flow, "each", 55)]
    lab.idle()
    assert sorted(numbers) == list(range(55))
    assert sorted(c["n"] for c in lab.outputs(flow, "many", 55)) == list(range(55))
    assert lab.platform.documents.count("windows") == 0


def test_an_external_step_that_sends_very_much_is_settled_in_windows(
    lab: Lab, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.services.execution.WINDOW", 10)
    lab.component("Many", "def receive(self, context):\n    context.send_array(({'n': n} for n in range(55)), 'out')")
    lab.open()
    flow = lab.flow(
        {
            "hook": make("Hook"),
            "many": make("Many", ("hook", "out")),
            "each": make("Echo", ("many", "out"), fields={"n": "{{{$.@many@.out.n}}}"}),
        }
    )
    lab.post(flow, "hook", {}, enqueue_only=True)
    assert sorted(c["n"] for c in lab.inputs(flow, "each", 55)) == list(range(55))
    lab.idle()
    assert lab.platform.documents.count("windows") == 0


def test_each_and_join_each_of_a_long_list(lab: Lab, make: Make) -> None:
    lab.component(
        "Sum",
        """
        effects = "none"
        def receive(self, context):
            values = [item["value"] for item in context.messages["in"].content["items"]]
            context.send({"n": len(values), "sum": sum(values)}, "out")
        """,
    )
    lab.open()
    utils = "appmixer.utils.controls"
    join = make(f"{utils}.JoinEach", ("each", "item"), fields={"correlationId": "{{{$.@each@.item.correlationId}}}"})
    count = make(
        f"{utils}.JoinEach",
        ("each", "done"),
        fields={"count": "{{{$.@each@.done.count}}}", "correlationId": "{{{$.@each@.done.correlationId}}}"},
        port="count",
    )
    join["source"].update(count["source"])
    join["config"]["transform"].update(count["config"]["transform"])
    flow = lab.flow(
        {
            "hook": make("Hook"),
            "each": make(f"{utils}.Each", ("hook", "out"), fields={"list": "{{{$.@hook@.out.list}}}"}),
            "join": join,
            "sum": make("Sum", ("join", "out")),
        }
    )
    lab.post(flow, "hook", {"list": list(range(1200))}, enqueue_only=True)
    joined = lab.outputs(flow, "sum")
    assert joined == [{"n": 1200, "sum": sum(range(1200))}]
    lab.idle()
    assert len(lab.outputs(flow, "sum")) == 1
    assert not [h for h in lab.log(flow) if h["severity"] == "error"]


def test_one_flow_takes_at_most_half_of_the_pool(lab: Lab, make: Make) -> None:
    lab.component(
        "Slow",
        """
        def receive(self, context):
            context.service_state.inc("at work")
            while not context.cache_get("go"):
                time.sleep(0.01)
            context.send({}, "out")
        """,
    )
    lab.component("Quick", 'def receive(self, context):\n    context.send({}, "out")')
    lab.options["step_threads"] = 4
    lab.open()
    slow = lab.flow({"hook": make("Hook"), "slow": make("Slow", ("hook", "out"))})
    for _ in range(20):
        lab.post(slow, "hook", {}, enqueue_only=True)
    until(lambda: lab.platform.state.get("service:test.lab", "at work") == 2, "two at work")
    quick = lab.flow({"hook": make("Hook"), "quick": make("Quick", ("hook", "out"))})
    lab.post(quick, "hook", {}, enqueue_only=True)
    assert lab.outputs(quick, "quick") == [{}]
    assert lab.platform.state.get("service:test.lab", "at work") == 2
    lab.platform.cache.set("static:go", True, 600)
    lab.idle()


def test_a_serial_flow_works_on_one_message_at_a_time_in_order(lab: Lab, make: Make) -> None:
    lab.component(
        "Serial",
        """
        def receive(self, context):
            if context.service_state.inc("at work") > 1:
                raise CancelError("two at a time")
            time.sleep(0.01)
            context.service_state.inc("at work", -1)
            turn = context.service_state.inc("turn")
            context.send({"n": context.messages["in"].content["n"], "turn": turn}, "out")
        """,
    )
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "serial": make("Serial", ("hook", "out"))}, start=False)
    lab.platform.flows.save(flow, {"maxConcurrency": 1}, lab.caller)
    lab.platform.lifecycle.start(flow)
    for n in range(10):
        lab.post(flow, "hook", {"n": n}, enqueue_only=True)
    turns = sorted(lab.outputs(flow, "serial", 10), key=lambda c: c["turn"])
    assert [c["n"] for c in turns] == list(range(10))


def test_gathers_count_a_redelivered_item_once(lab: Lab, make: Make) -> None:
    lab.component(
        "Collects",
        """
        effects = "state"
        def receive(self, context):
            context.gather("all").add(context.messages["in"].content["n"])
            while context.cache_get("block"):
                time.sleep(0.01)
            items = context.gather("all").take(3)
            if items is not None:
                context.send({"items": sorted(items)}, "out")
        """,
    )
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "all": make("Collects", ("hook", "out"))})
    lab.platform.cache.set("static:block", True, 600)
    for n in range(2):
        lab.post(flow, "hook", {"n": n}, enqueue_only=True)
    until(lambda: lab.platform.documents.count("gather_items") == 2, "two items")
    blocked = lab.platform
    crash(lab)
    blocked.cache.delete("static:block")
    lab.open()
    lab.idle()
    lab.post(flow, "hook", {"n": 2}, enqueue_only=True)
    assert lab.outputs(flow, "all") == [{"items": [0, 1, 2]}]


def test_only_one_of_many_takes_a_group(lab: Lab, make: Make) -> None:
    lab.component(
        "Collects",
        """
        effects = "state"
        def receive(self, context):
            context.gather("all").add(context.messages["in"].content["n"])
            items = context.gather("all").take(40)
            if items is not None:
                context.send({"items": sorted(items)}, "out")
        """,
    )
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "all": make("Collects", ("hook", "out"))})
    threads = [
        threading.Thread(target=lab.post, args=(flow, "hook", {"n": n}), kwargs={"enqueue_only": True})
        for n in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert lab.outputs(flow, "all") == [{"items": list(range(40))}]
    lab.idle()
    assert len(lab.outputs(flow, "all")) == 1


def test_a_large_output_is_stored_once_and_carried_by_name(lab: Lab, make: Make) -> None:
    lab.component("Outside", 'def receive(self, context):\n    context.send(context.messages["in"].content, "out")')
    lab.open()
    fields = {"size": "{{{$.@hook@.out.text}}}"}
    flow = lab.flow(
        {
            "hook": make("Hook"),
            "a": make("Outside", ("hook", "out")),
            "b": make("Outside", ("a", "out")),
            "echo": make("Echo", ("b", "out"), fields=fields),
        }
    )
    text = "x" * 200_000
    lab.platform.cache.set("static:block", True, 600)
    sizes: list[int] = []
    settle = lab.platform.bus.settle

    def watched(delivery: Any, settlement: Any) -> Any:
        sizes.extend(len(encode(m)) for m in settlement.publishes if m.sender_id)
        return settle(delivery, settlement)

    lab.platform.bus.settle = watched  # type: ignore[method-assign]
    lab.post(flow, "hook", {"text": text})
    lab.idle()
    record = until(lambda: lab.log(flow, "echo"), "a record")[0]
    assert record["cut"] > 200_000
    assert max(sizes) < 5_000
    assert lab.platform.documents.count("payloads") == 2, "what hook, a and b sent, and what echo made of it"
    out = until(lambda: [h for h in lab.log(flow, "a") if h["portType"] == "out"], "an output")[0]
    assert lab.platform.execution.payloads.load(out["payload"]) == {"text": text}


def test_a_stored_value_survives_a_restart_and_a_missing_one_is_told(lab: Lab, make: Make) -> None:
    lab.component("Outside", BLOCKS.replace('effects = "state"', ""))
    lab.component("First", 'def receive(self, context):\n    context.send({}, "out")')
    lab.component(
        "Len",
        'def receive(self, context):\n    context.send({"n": len(context.messages["in"].content["t"])}, "out")',
        inPorts=[{"name": "in", "schema": {"type": "object"}}],
    )
    lab.open()
    flow = lab.flow(
        {
            "hook": make("Hook"),
            "first": make("First", ("hook", "out")),
            "a": make("Outside", ("first", "out")),
            "len": make("Len", ("a", "out"), fields={"t": "{{{$.@hook@.out.text}}}"}),
        }
    )

    def crash_during(text: str) -> None:
        lab.platform.cache.set("static:block", True, 600)
        lab.post(flow, "hook", {"text": text}, enqueue_only=True)
        under_way = Query(where=(Where("componentId", "eq", lab.ids["a"]),))
        until(lambda: lab.platform.documents.count("ledger", under_way) == 1, "a call under way")
        blocked = lab.platform
        crash(lab)
        blocked.cache.delete("static:block")

    crash_during("y" * 2_000_000)
    lab.open()
    assert lab.outputs(flow, "len") == [{"n": 2_000_000}]
    lab.idle()
    crash_during("z" * 100_000)
    lab.open(before=forget_payloads)
    assert "no longer stored" in lab.unprocessed(flow)[0]["err"]


def forget_payloads(platform: Any) -> None:
    for doc in platform.documents.find("payloads"):
        platform.documents.delete("payloads", doc["_id"])


def test_old_payloads_go_when_nothing_can_need_them(lab: Lab, make: Make) -> None:
    lab.component("Later", 'effects = "state"\ndef receive(self, context):\n    context.set_timeout({}, 86400000 * 20)')
    lab.component("Outside", 'def receive(self, context):\n    context.send({}, "out")')
    lab.open()
    flow = lab.flow(
        {"hook": make("Hook"), "later": make("Later", ("hook", "out")), "a": make("Outside", ("hook", "out"))}
    )
    lab.post(flow, "hook", {"text": "x" * 100_000}, enqueue_only=True)
    lab.idle()
    assert lab.platform.documents.count("payloads") == 1
    lab.clock.ms += 10 * 86_400_000
    lab.platform.housekeeping()
    assert lab.platform.documents.count("payloads") == 1, "a timer is still open"
    lab.platform.lifecycle.stop(flow)
    lab.platform.housekeeping()
    assert lab.platform.documents.count("payloads") == 0


def test_steps_that_wait_for_a_lock_hold_no_thread(lab: Lab, make: Make) -> None:
    lab.component(
        "Locks",
        """
        def receive(self, context):
            with context.lock("one"):
                context.service_state.inc("entered")
                while not context.cache_get("go"):
                    time.sleep(0.01)
                context.send({}, "out")
        """,
    )
    lab.component("Quick", 'def receive(self, context):\n    context.send({}, "out")')
    lab.options["step_threads"] = 4
    lab.open()
    locking = [lab.flow({"hook": make("Hook"), "locks": make("Locks", ("hook", "out"))}) for _ in range(1)]
    names = dict(lab.ids)
    for _ in range(6):
        lab.post(locking[0], "hook", {}, enqueue_only=True)
    until(lambda: lab.platform.documents.count("timers") >= 1, "a step that gave its thread back")
    quick = lab.flow({"hook": make("Hook"), "quick": make("Quick", ("hook", "out"))})
    lab.post(quick, "hook", {}, enqueue_only=True)
    assert lab.outputs(quick, "quick") == [{}]
    lab.platform.cache.set("static:go", True, 600)
    lab.ids = names

    def finished() -> bool:
        lab.pass_time(0.15)
        return len([h for h in lab.log(locking[0], "locks") if h["portType"] == "out"]) == 6

    until(finished, "all six")
    assert lab.platform.metrics.registry.get_sample_value("headrace_external_repeats_total") == 0
    assert not [h for h in lab.log(locking[0]) if h["severity"] == "error"]


def test_a_lock_that_stays_taken_is_an_error_in_the_end(lab: Lab, make: Make) -> None:
    lab.component(
        "Locks", 'def receive(self, context):\n    with context.lock("one"):\n        context.send({}, "out")'
    )
    lab.options["retry_attempts"] = 1
    lab.open()
    lab.platform.cache.lock("test.lab:one", "somebody else", 600)
    flow = lab.flow({"hook": make("Hook"), "locks": make("Locks", ("hook", "out"))})
    lab.post(flow, "hook", {}, enqueue_only=True)

    def given_up() -> bool:
        lab.pass_time(0.5)
        return lab.platform.documents.count("unprocessed") == 1

    until(given_up, "an unprocessed message")
    assert "'one'" in lab.unprocessed(flow)[0]["err"]


def test_a_polling_trigger_cut_off_by_a_crash_loses_nothing(lab: Lab, make: Make) -> None:
    """What it has seen becomes durable with what it sent, so the tick that comes again finds the news again."""
    lab.component(
        "Polls",
        """
        effects = "state"
        def tick(self, context):
            known = context.state.get("known") or []
            news = [n for n in (1, 2, 3) if n not in known]
            context.state.set("known", known + news)
            assert context.state.get("known") == [1, 2, 3]
            assert context.state.load() == {"known": [1, 2, 3]}
            context.send_array(({"n": n} for n in news), "out")
            while context.cache_get("block"):
                time.sleep(0.01)
        """,
        inPorts=[],
        tick=True,
    )
    lab.open()
    lab.platform.cache.set("static:block", True, 600)
    flow = lab.flow({"polls": make("Polls")})
    lab.pass_time(0)
    until(lambda: lab.platform.bus.depth() == 1, "a tick under way")
    blocked = lab.platform
    crash(lab)
    blocked.cache.delete("static:block")
    lab.open()
    assert sorted(c["n"] for c in lab.outputs(flow, "polls", 3)) == [1, 2, 3]
    lab.idle()
    assert lab.platform.state.load(f"component:{flow}:{lab.ids['polls']}") == {"known": [1, 2, 3]}
    lab.pass_time(60)
    lab.idle()
    assert len(lab.outputs(flow, "polls", 3)) == 3
