"""BeforeAll, AfterAll, CallCount and Join together: test runs of a whole flow."""

from __future__ import annotations

from typing import Any

import pytest

from engine.sdk import Incoming, Link, StepError
from tests.connectors.recorder import Recorder
from tests.connectors.world import START, World

T = "appmixer.utils.test."
SCOPE = {"trigger": {"out": {"started": "now"}}}
LINKS = [Link("in", "a", "out", "First"), Link("in", "b", "true", "Second"), Link("in", "b", "false", "Second")]


class Flow:
    """A flow of test components in one world; `step` makes one of them."""

    def __init__(self) -> None:
        self.world = World()
        self.flow: dict[str, Any] = {"before": {"type": T + "BeforeAll", "label": "Before"}}
        self.before = Recorder(T + "BeforeAll", world=self.world, component_id="before", flow=self.flow)

    def step(self, name: str, component_id: str, **setting: Any) -> Recorder:
        self.flow[component_id] = {"type": T + name}
        recorder = Recorder(T + name, world=self.world, component_id=component_id, flow=self.flow, **setting)
        for part in self.world.parts:
            part.flow_descriptor = dict(self.flow)
        return recorder.start()

    def begin(self) -> str:
        """Start a run; returns its id."""
        self.before.receive({"in": Incoming({}, {}, "correlation-1", SCOPE)})
        self.world.deliver_signals()
        ((_, content),) = self.before.take()
        run: str = content["runId"]
        return run


@pytest.fixture
def flow() -> Flow:
    return Flow()


def message(sender: str, port: str, content: Any, scope: Any = None) -> dict[str, Incoming]:
    return {"in": Incoming(content, content, "correlation-1", scope or {}, sender, port)}


# -- BeforeAll


def test_before_all_waits_for_every_receiver_and_keeps_the_scope(flow: Flow) -> None:
    after = flow.step("AfterAll", "after", links=LINKS)
    count = flow.step("CallCount", "count")
    flow.before.receive({"in": Incoming({}, {}, "correlation-1", SCOPE)})
    assert flow.before.sent == []
    run = flow.before.flow_state.get("state")["runId"]
    assert flow.before.flow_state.get("state") == {"started": "2025-04-25T07:38:12.000Z", "runId": run}
    assert flow.before.signals == [{"beforeAll": {"now": START, "runId": run}}]
    flow.world.deliver_signals()
    assert after.signals == [{"componentId": "after", "componentType": T + "AfterAll", "runId": run}]
    assert count.signals == [{"componentId": "count", "componentType": T + "CallCount", "runId": run}]
    assert flow.before.sent == [("out", {"now": START, "runId": run})]
    assert flow.before.sent_scopes == [SCOPE]
    assert [t.component_id for t in flow.world.timers.values()] == ["after"]


def test_one_answer_of_two_is_not_enough(flow: Flow) -> None:
    flow.step("CallCount", "one")
    flow.step("CallCount", "two")
    flow.before.receive({"in": {}})
    run = flow.before.flow_state.get("state")["runId"]
    for answering in ("one", "one", "two"):
        assert flow.before.sent == []
        answer = {"componentId": answering, "componentType": T + "CallCount", "runId": run}
        flow.before.call("signal", signal=answer)
    assert len(flow.before.sent) == 1


def test_answers_of_another_run_do_not_count(flow: Flow) -> None:
    flow.step("CallCount", "one")
    flow.before.receive({"in": {}})
    flow.before.call("signal", signal={"componentId": "one", "runId": "old"})
    assert flow.before.sent == []


def test_a_second_message_while_waiting_is_ignored(flow: Flow) -> None:
    flow.step("CallCount", "count")
    flow.before.receive({"in": {}}, message_id="m1")
    flow.before.receive({"in": {}}, message_id="m2")
    flow.before.receive({"in": {}}, message_id="m1")  # a redelivery of the first
    assert len({str(s) for s in flow.before.signals}) == 1
    flow.world.deliver_signals()
    assert len(flow.before.sent) == 1


def test_a_new_run_can_begin_once_the_last_one_is_under_way(flow: Flow) -> None:
    flow.step("CallCount", "count")
    assert flow.begin() != flow.begin()


def test_without_receivers_nothing_is_sent_and_the_run_is_dropped(flow: Flow) -> None:
    flow.before.receive({"in": {}})
    flow.world.deliver_signals()
    flow.world.advance(60_000)
    assert flow.before.sent == []
    assert flow.before.flow_state.get("state") is None
    assert flow.before.logs[0][0] == "error"


def test_no_answer_in_time_is_logged_with_who_is_missing(flow: Flow) -> None:
    flow.step("CallCount", "count")
    flow.before.receive({"in": {}})
    flow.world.advance(59_999)
    assert flow.before.logs == []
    flow.world.advance(1)
    assert flow.before.logs == [("error", {"message": "test components did not answer in time", "missing": ["count"]})]
    flow.world.deliver_signals()
    assert flow.before.sent == []
    flow.begin()


def test_the_time_to_answer_can_be_configured(flow: Flow) -> None:
    flow.step("CallCount", "count")
    flow.before.config = {"syncTimeout": 5}
    flow.before.receive({"in": {}})
    flow.world.advance(5_000)
    assert len(flow.before.logs) == 1


def test_a_receiver_that_left_the_flow_is_not_waited_for(flow: Flow) -> None:
    flow.step("CallCount", "count")
    flow.before.flow_state.add_to_set("signalReceivers", "gone")
    flow.begin()


# -- AfterAll


def test_several_senders_become_an_array_in_order_of_arrival(flow: Flow) -> None:
    after = flow.step("AfterAll", "after", links=LINKS)
    flow.begin()
    after.receive(message("b", "true", "b1", {"x": {"out": 1}}))
    after.receive(message("b", "true", "b2", {"x": {"out": 1}}))
    after.receive(message("a", "out", {"n": 1}, {"y": {"out": 2}}))
    assert after.sent == []
    after.receive(message("b", "false", "b3"))
    assert after.sent == [("out", ["b1", "b2", {"n": 1}, "b3"])]
    assert after.sent_scopes == [
        {"x": {"out": 1}, "y": {"out": 2}, "a": {"out": {"n": 1}}, "b": {"true": "b2", "false": "b3"}}
    ]
    assert after.flow_state.get("state")["done"] is True
    assert flow.world.timers == {}


def test_one_sender_hands_its_content_on(flow: Flow) -> None:
    after = flow.step("AfterAll", "after", links=LINKS[:1])
    flow.begin()
    assert after.receive(message("a", "out", {"n": 1})).sent == [("out", {"n": 1})]


def test_one_sender_with_two_ports_is_one_sender_but_two_links(flow: Flow) -> None:
    after = flow.step("AfterAll", "after", links=LINKS[1:])
    flow.begin()
    after.receive(message("b", "false", "f"))
    assert after.sent == []
    assert after.receive(message("b", "true", "t")).sent == [("out", "f")]


def test_what_comes_after_the_end_is_ignored_until_the_next_run(flow: Flow) -> None:
    after = flow.step("AfterAll", "after", links=LINKS[:1])
    flow.begin()
    after.receive(message("a", "out", 1)).receive(message("a", "out", 2))
    assert after.take() == [("out", 1)]
    flow.begin()
    assert after.receive(message("a", "out", 3)).sent == [("out", 3)]


def test_time_out_names_the_missing_links(flow: Flow) -> None:
    after = flow.step("AfterAll", "after", links=LINKS, properties={"timeout": 30})
    flow.begin()
    after.receive(message("b", "true", 1, {"x": {"out": 1}}))
    flow.world.advance(29_999)
    assert after.sent == []
    flow.world.advance(1)
    assert after.sent == [("out", {"message": "timed out", "timedOutLinks": ["First:out", "Second:false"]})]
    assert after.sent_scopes[0] == {"x": {"out": 1}, "b": {"true": 1}}
    after.receive(message("a", "out", 2)).receive(message("b", "false", 3))
    assert len(after.sent) == 1


def test_the_time_out_is_180_seconds_by_default_and_one_of_an_old_run_does_nothing(flow: Flow) -> None:
    after = flow.step("AfterAll", "after", links=LINKS)
    flow.begin()
    flow.world.advance(100_000)
    flow.begin()
    flow.world.advance(179_999)
    assert after.sent == []
    flow.world.advance(1)
    assert len(after.sent) == 1


def test_after_all_without_a_run_ignores_messages(flow: Flow) -> None:
    after = flow.step("AfterAll", "after", links=LINKS[:1])
    assert after.receive(message("a", "out", 1)).sent == []
    assert after.logs[0][0] == "warning"


def test_a_redelivered_last_message_gives_the_same_output(flow: Flow) -> None:
    after = flow.step("AfterAll", "after", links=LINKS[:1])
    flow.begin()
    for _ in range(2):
        after.receive(message("a", "out", 1), message_id="last")
    assert after.sent == [("out", 1)] * 2


# -- CallCount


def call(count: Recorder, value: Any, wanted: int = 2) -> Recorder:
    return count.receive({"in": Incoming({"callCount": wanted}, value)})


def test_call_count_sends_once_when_the_number_is_reached(flow: Flow) -> None:
    count = flow.step("CallCount", "count")
    call(call(count, {"n": 1}), "two")
    assert count.sent == [("out", [{"n": 1}, "two"])]
    call(call(count, 3), 4)
    assert len(count.sent) == 1


def test_call_count_begins_again_with_a_run(flow: Flow) -> None:
    count = flow.step("CallCount", "count")
    call(count, "before any run")
    flow.begin()
    call(count, 1)
    flow.begin()
    call(count, "a")
    assert count.sent == []
    assert call(count, "b").sent == [("out", ["a", "b"])]


# -- Join


def joining(run: str, value: Any, port: str = "in") -> dict[str, Incoming]:
    scope = {"before": {"out": {"now": START, "runId": run}}, f"s-{value}": {"out": value}}
    return {port: Incoming(value, value, "correlation-1", scope, "s", port)}


def test_join_pairs_early_and_late_messages_with_the_one(flow: Flow) -> None:
    flow.step("CallCount", "count")
    join = flow.step("Join", "join")
    run = flow.begin()
    join.receive(joining(run, 1)).receive(joining(run, 2))
    assert join.sent == []
    join.receive(joining(run, "one", "join"))
    assert join.sent == [("out", {"join": "one", "in": 1}), ("out", {"join": "one", "in": 2})]
    join.take()
    join.receive(joining(run, 3))
    assert join.sent == [("out", {"join": "one", "in": 3})]
    scope = join.sent_scopes[-1]
    assert scope is not None
    assert {"s-one", "s-3", "before"} <= set(scope)


def test_join_takes_a_redelivery_for_what_it_is(flow: Flow) -> None:
    flow.step("CallCount", "count")
    join = flow.step("Join", "join")
    run = flow.begin()
    join.receive(joining(run, 1))
    for _ in range(2):
        join.receive(joining(run, "one", "join"), message_id="m")
    assert join.sent == [("out", {"join": "one", "in": 1})] * 2


def test_join_ignores_messages_of_another_run(flow: Flow) -> None:
    flow.step("CallCount", "count")
    join = flow.step("Join", "join")
    old, run = flow.begin(), flow.begin()
    join.receive(joining(old, "one", "join")).receive(joining(run, 1))
    assert join.sent == []
    assert join.logs[0][0] == "warning"


def test_join_needs_a_before_all(flow: Flow) -> None:
    join = flow.step("Join", "join")
    with pytest.raises(StepError, match="needs a BeforeAll"):
        join.receive({"in": Incoming(1, 1)})


def test_join_reads_the_whole_scope() -> None:
    from connectors.appmixer.utils.test.Join.component import Join

    assert Join.reads_scope
