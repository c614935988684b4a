from __future__ import annotations

from typing import Any

import pytest

from engine.sdk import CancelError, Incoming, StepError
from tests.connectors.recorder import Recorder, run

T = "appmixer.utils.timers."
MINUTE = 60_000


def started(name: str, **properties: Any) -> Recorder:
    return Recorder(T + name, properties=properties).start()


# -- Timer


def test_timer_sends_at_the_start_and_then_every_interval() -> None:
    recorder = started("Timer", interval=5)
    assert recorder.take() == [("out", {"now": "2025-04-25T07:38:12.000Z"})]
    recorder.world.advance(5 * MINUTE - 1)
    assert recorder.take() == []
    recorder.world.advance(1)
    assert recorder.take() == [
        ("out", {"now": "2025-04-25T07:43:12.000Z", "lastTick": "2025-04-25T07:38:12.000Z", "elapsed": 300_000})
    ]
    recorder.world.advance(10 * MINUTE)
    assert [content["now"] for _, content in recorder.sent] == ["2025-04-25T07:48:12.000Z", "2025-04-25T07:53:12.000Z"]


def test_a_late_timer_keeps_its_rhythm_and_does_not_make_up_for_missed_ticks() -> None:
    recorder = started("Timer", interval=5)
    recorder.take()
    (timer,) = recorder.world.timers.values()
    recorder.world.timers.clear()
    recorder.world.now_ms += 7 * MINUTE
    recorder.deliver_timeout(timer)
    assert recorder.take()[0][1]["elapsed"] == 7 * MINUTE
    (timer,) = recorder.world.timers.values()
    assert timer.due == recorder.world.now_ms + 3 * MINUTE
    recorder.world.timers.clear()
    recorder.world.now_ms += 60 * MINUTE
    recorder.deliver_timeout(timer)
    (timer,) = recorder.world.timers.values()
    assert timer.due == recorder.world.now_ms + 5 * MINUTE


@pytest.mark.parametrize(
    ("name", "properties"),
    [
        ("Timer", {"interval": 5}),
        ("Scheduler", {"minute": "*", "hour": "*", "dayMonth": "*", "dayWeek": "*"}),
        ("SchedulerTrigger", {"scheduleType": "days"}),
    ],
)
def test_chains_of_ticks(name: str, properties: dict[str, Any]) -> None:
    """A repeated tick gives its output again and no second chain; one of an earlier run gives nothing."""
    recorder = started(name, **properties)
    (first,) = recorder.world.timers.values()
    recorder.world.timers.clear()
    recorder.world.now_ms = first.due
    recorder.take()
    recorder.deliver_timeout(first, "tick")
    once = recorder.take()
    assert len(once) == 1
    recorder.deliver_timeout(first, "tick")
    assert recorder.take() == once
    assert len(recorder.world.timers) == 1
    recorder.state.clear()  # the flow was stopped
    recorder.start().take()
    recorder.deliver_timeout(first, "retried by hand")
    assert recorder.sent == []


# -- Scheduler


def cron(**properties: Any) -> Recorder:
    return started("Scheduler", **{"minute": "*/30", "hour": "*", "dayMonth": "*", "dayWeek": "*", **properties})


def test_scheduler_at_once_and_by_its_schedule() -> None:
    recorder = cron(immediate=True)
    recorder.world.advance(60 * MINUTE)
    assert recorder.sent == [
        (
            "out",
            {"now": "2025-04-25T07:38:12.000Z", "previousDate": None, "nextDate": "2025-04-25T08:00:00.000Z"},
        ),
        (
            "out",
            {
                "now": "2025-04-25T08:00:00.000Z",
                "previousDate": "2025-04-25T07:38:12.000Z",
                "nextDate": "2025-04-25T08:30:00.000Z",
            },
        ),
        (
            "out",
            {
                "now": "2025-04-25T08:30:00.000Z",
                "previousDate": "2025-04-25T08:00:00.000Z",
                "nextDate": "2025-04-25T09:00:00.000Z",
            },
        ),
    ]


@pytest.mark.parametrize("properties", [{}, {"immediate": False}])
def test_scheduler_waits_unless_told_to_begin_at_once(properties: dict[str, Any]) -> None:
    recorder = cron(**properties)
    assert recorder.sent == []
    recorder.world.advance(30 * MINUTE)
    assert [content["previousDate"] for _, content in recorder.sent] == [None]


def test_scheduler_reads_its_fields_in_its_zone() -> None:
    recorder = cron(minute="0", hour="9", timezone="Europe/Prague")
    recorder.world.advance(24 * 60 * MINUTE)
    assert [content["now"] for _, content in recorder.sent] == ["2025-04-26T07:00:00.000Z"]


def test_the_next_date_counts_from_now() -> None:
    recorder = cron(minute="*")
    (timer,) = recorder.world.timers.values()
    recorder.world.timers.clear()
    recorder.world.now_ms += 90 * MINUTE
    recorder.deliver_timeout(timer)
    assert recorder.sent[0][1]["nextDate"] == "2025-04-25T09:09:00.000Z"


def test_a_bad_zone_or_field_stops_the_start() -> None:
    with pytest.raises(CancelError, match="no time zone"):
        cron(timezone="Nowhere")
    with pytest.raises(CancelError, match="the schedule"):
        cron(minute="x")


# -- Wait


def waiting(**fields: Any) -> Recorder:
    return run(T + "Wait", {"in": Incoming(fields, {"sent": "before"})}, scope={"a": {"out": {"n": 1}}})


@pytest.mark.parametrize(
    ("interval", "due"),
    [
        ("5m", "2025-04-25T07:43:12.000Z"),
        ("2h", "2025-04-25T09:38:12.000Z"),
        ("7d", "2025-05-02T07:38:12.000Z"),
        ("2w", "2025-05-09T07:38:12.000Z"),
        ("1M", "2025-05-25T07:38:12.000Z"),
        ("10y", "2035-04-25T07:38:12.000Z"),
    ],
)
def test_wait_for_a_span(interval: str, due: str) -> None:
    from engine.model.times import from_iso

    recorder = waiting(interval=interval)
    assert recorder.sent == []
    wait = from_iso(due) - recorder.world.now_ms
    recorder.world.advance(wait - 1)
    assert recorder.sent == []
    recorder.world.advance(1)
    assert recorder.sent == [("out", {"interval": interval})]
    assert recorder.scope == {"a": {"out": {"n": 1}}}


@pytest.mark.parametrize(
    ("until", "minutes"),
    [
        ("2025-04-25T08:38:12Z", 60),
        ("2025-04-25T10:38:12+02:00", 60),
        ("2025-04-26", 16 * 60 + 21.8),
    ],
)
def test_wait_until_a_moment(until: str, minutes: float) -> None:
    recorder = waiting(until=until)
    recorder.world.advance(minutes * MINUTE - 1)
    assert recorder.sent == []
    recorder.world.advance(1)
    assert recorder.sent == [("out", {"until": until})]


@pytest.mark.parametrize("until", ["2025-04-25", "2020-01-01T00:00:00Z", "2025-04-25T07:38:12Z"])
def test_a_past_moment_does_not_wait(until: str) -> None:
    recorder = waiting(until=until)
    assert recorder.sent == [("out", {"until": until})]
    assert recorder.world.timers == {}


@pytest.mark.parametrize("fields", [{"until": "tomorrow"}, {"interval": "99999999999y"}, {"interval": "9999999d"}])
def test_what_cannot_be_waited_for_is_an_error(fields: dict[str, str]) -> None:
    with pytest.raises(StepError, match=r"until|interval"):
        waiting(**fields)
