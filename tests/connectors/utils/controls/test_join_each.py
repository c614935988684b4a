from __future__ import annotations

from typing import Any

import pytest

from engine.sdk import Incoming
from tests.connectors.recorder import Recorder

TYPE = "appmixer.utils.controls.JoinEach"


@pytest.fixture
def join() -> Recorder:
    return Recorder(TYPE)


def item(value: Any, loop: str | None = "loop") -> dict[str, Any]:
    return {"in": Incoming({"correlationId": loop} if loop else {}, value, "own")}


def expect(count: float, loop: str | None = "loop", **more: Any) -> dict[str, Any]:
    content = {"count": count, **({"correlationId": loop} if loop else {}), **more}
    return {"count": Incoming(content, content, "own")}


def test_items_come_out_in_order_of_arrival_once_all_are_there(join: Recorder) -> None:
    join.receive(item({"n": 1})).receive(expect(3)).receive(item({"n": 2}))
    assert join.sent == []
    join.receive(item("three"))
    assert join.sent == [("out", {"items": [{"n": 1}, {"n": 2}, "three"]})]
    assert join.world.timers == {}


def test_the_count_may_come_last(join: Recorder) -> None:
    join.receive(item(1)).receive(item(2)).receive(expect(2))
    assert join.sent == [("out", {"items": [1, 2]})]


def test_a_count_of_nothing_is_answered_at_once(join: Recorder) -> None:
    assert join.receive(expect(0)).sent == [("out", {"items": []})]
    assert join.world.timers == {}


def test_loops_are_kept_apart(join: Recorder) -> None:
    for message in (expect(2, "a"), expect(1, "b"), item("a1", "a"), item("b1", "b"), item("a2", "a")):
        join.receive(message)
    assert join.sent == [("out", {"items": ["b1"]}), ("out", {"items": ["a1", "a2"]})]


def test_without_a_field_the_messages_own_correlation_counts(join: Recorder) -> None:
    join.receive(item(1, None)).receive(expect(1, None))
    assert join.sent == [("out", {"items": [1]})]


def test_a_group_can_be_used_again(join: Recorder) -> None:
    for round_ in (1, 2):
        join.receive(item(round_)).receive(expect(1))
    assert join.sent == [("out", {"items": [1]}), ("out", {"items": [2]})]


def test_time_out_sends_what_came(join: Recorder) -> None:
    join.receive(expect(3, timeoutValue=60)).receive(item("a"))
    join.world.advance(59_999)
    assert join.sent == []
    join.world.advance(1)
    assert join.sent == [("timeout", {"items": ["a"], "count": 3, "arrived": 1})]
    # the group is forgotten: what is late begins a new one
    join.receive(item("b")).receive(item("c"))
    assert len(join.sent) == 1


@pytest.mark.parametrize("given", [{}, {"timeout": True}])
def test_the_default_time_out_is_300_seconds(join: Recorder, given: dict[str, Any]) -> None:
    join.receive(expect(1, **given))
    join.world.advance(299_999)
    assert join.sent == []
    join.world.advance(1)
    assert join.sent == [("timeout", {"items": [], "count": 1, "arrived": 0})]


def test_no_time_out_when_it_is_off(join: Recorder) -> None:
    join.receive(expect(1, timeout=False))
    assert join.world.timers == {}


def test_a_time_out_that_was_cancelled_too_late_is_ignored(join: Recorder) -> None:
    join.receive(expect(2)).receive(item(1))
    (timer,) = join.world.timers.values()
    join.receive(item(2))
    join.take()
    join.receive(item("next round"))
    join.deliver_timeout(timer)
    assert join.sent == []


def test_a_redelivered_message_gives_the_same_output(join: Recorder) -> None:
    join.receive(expect(2)).receive(item(1))
    join.receive(item(2), message_id="last")
    first = join.take()
    join.receive(item(2), message_id="last")
    assert join.take() == first == [("out", {"items": [1, 2]})]
    join.receive(item(9), message_id="other")
    assert join.sent == []


def test_a_redelivered_time_out_gives_the_same_output(join: Recorder) -> None:
    join.receive(expect(2)).receive(item(1))
    (timer,) = join.world.timers.values()
    join.deliver_timeout(timer, "t")
    join.deliver_timeout(timer, "t")
    assert join.sent == [("timeout", {"items": [1], "count": 2, "arrived": 1})] * 2


def test_nothing_is_kept_of_a_finished_loop(join: Recorder) -> None:
    join.receive(expect(1)).receive(item(1))
    assert join.state.load() == {}


def test_no_time_out_is_left_when_the_last_item_comes_while_the_count_is_at_work(join: Recorder) -> None:
    other = Recorder(TYPE, world=join.world)
    join.receive(item(1))
    join.receive(expect(2), dies=True)
    other.receive(item(2))
    join.settle()
    assert other.sent == [("out", {"items": [1, 2]})]
    assert join.world.timers == {}


@pytest.mark.parametrize("last", ["item", "count"])
def test_no_time_out_is_left_by_messages_that_come_again(join: Recorder, last: str) -> None:
    messages = {"count": expect(1), "item": item(1)}
    first = next(name for name in messages if name != last)
    join.receive(messages[first], message_id="first", dies=True)
    join.receive(messages[last], message_id="last", dies=True)
    join.receive(messages[last], message_id="last")
    join.receive(messages[first], message_id="first")
    assert join.sent == [("out", {"items": [1]})]
    assert join.world.timers == {}
