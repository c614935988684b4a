"""The golden dates of utils-components.md; now is 2025-04-25T07:38:12Z, a Friday."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from connectors.appmixer.utils._kit.dates import iso
from connectors.appmixer.utils.timers.schedule import Schedule
from engine.sdk import CancelError, StepError
from tests.connectors.recorder import Recorder, run

TYPE = "appmixer.utils.timers.SchedulerTrigger"
NOW = datetime(2025, 4, 25, 7, 38, 12, tzinfo=UTC)
DAY = 24 * 3_600_000

GOLDEN: list[tuple[dict[str, Any], list[str]]] = [
    (
        {"scheduleType": "months", "daysOfMonth": ["15"], "time": "16:25"},
        ["2025-05-15T16:25:00.000Z", "2025-06-15T16:25:00.000Z"],
    ),
    (
        {"scheduleType": "months", "daysOfMonth": ["3", "last day of the month"], "time": "16:25"},
        ["2025-04-30T16:25:00.000Z", "2025-05-31T16:25:00.000Z", "2025-06-30T16:25:00.000Z"],
    ),
    (
        {"scheduleType": "months", "daysOfMonth": ["28", "26"]},
        ["2025-04-26T00:00:00.000Z", "2025-05-26T00:00:00.000Z"],
    ),
    (
        {"scheduleType": "weeks", "daysOfWeek": ["monday", "sunday"], "time": "00:00"},
        ["2025-04-27T00:00:00.000Z", "2025-04-28T00:00:00.000Z", "2025-05-04T00:00:00.000Z"],
    ),
    ({"scheduleType": "weeks", "daysOfWeek": ["friday"], "time": "07:38"}, ["2025-05-02T07:38:00.000Z"]),
    ({"scheduleType": "weeks", "daysOfWeek": ["friday"], "time": "07:39"}, ["2025-04-25T07:39:00.000Z"]),
    ({"scheduleType": "days", "time": "00:25"}, ["2025-04-26T00:25:00.000Z", "2025-04-27T00:25:00.000Z"]),
    ({"scheduleType": "days"}, ["2025-04-26T00:00:00.000Z"]),
    (
        {"scheduleType": "days", "time": "16:25", "timezone": "Europe/Istanbul"},
        ["2025-04-25T13:25:00.000Z", "2025-04-26T13:25:00.000Z"],
    ),
    (
        {"scheduleType": "custom", "customIntervalUnit": "hours", "customIntervalValue": 2},
        ["2025-04-25T09:38:12.000Z", "2025-04-25T11:38:12.000Z"],
    ),
    ({"customIntervalUnit": "minutes", "customIntervalValue": 10}, ["2025-04-25T07:48:12.000Z"]),
    ({"customIntervalUnit": "days", "customIntervalValue": 3}, ["2025-04-28T07:38:12.000Z"]),
    ({"customIntervalUnit": "weeks", "customIntervalValue": 1}, ["2025-05-02T07:38:12.000Z"]),
    (
        {
            "customIntervalUnit": "hours",
            "customIntervalValue": 2,
            "start": "2025-05-01 10:00",
            "timezone": "Europe/Prague",
        },
        ["2025-05-01T08:00:00.000Z", "2025-05-01T10:00:00.000Z"],
    ),
    ({"scheduleType": "days", "time": "09:00", "start": "2025-05-01 10:00"}, ["2025-05-02T09:00:00.000Z"]),
    ({"scheduleType": "days", "time": "11:00", "start": "2025-05-01 10:00"}, ["2025-05-01T11:00:00.000Z"]),
]


@pytest.mark.parametrize(("properties", "dates"), GOLDEN)
def test_golden_dates(properties: dict[str, Any], dates: list[str]) -> None:
    schedule = Schedule.read(properties)
    run_at: datetime | None = schedule.first(NOW)
    for expected in dates:
        assert run_at is not None
        assert iso(run_at) == expected
        run_at = schedule.after(run_at)


def test_a_day_keeps_its_local_time_across_the_change_of_the_clock() -> None:
    schedule = Schedule.read({"scheduleType": "days", "time": "09:00", "timezone": "Europe/Prague"})
    saturday = datetime(2025, 10, 25, 7, tzinfo=UTC)
    assert [iso(d) for d in (schedule.after(saturday),) if d] == ["2025-10-26T08:00:00.000Z"]


def test_december_leads_to_january() -> None:
    schedule = Schedule.read({"scheduleType": "months", "daysOfMonth": ["10"]})
    run_at = schedule.after(datetime(2025, 12, 10, tzinfo=UTC))
    assert run_at == datetime(2026, 1, 10, tzinfo=UTC)
    last = Schedule.read({"scheduleType": "months", "daysOfMonth": ["last day of the month"]})
    assert last.after(datetime(2025, 1, 31, tzinfo=UTC)) == datetime(2025, 2, 28, tzinfo=UTC)


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"scheduleType": "days", "start": "2025-04-25 07:00"}, "in the past"),
        ({"scheduleType": "days", "start": "2025-05-02 00:00", "end": "2025-05-01 00:00"}, "comes after end"),
        ({"scheduleType": "days", "end": "2025-04-25 12:00"}, "no run comes before end"),
        ({"scheduleType": "weeks"}, "incomplete"),
        ({"scheduleType": "months", "daysOfMonth": []}, "incomplete"),
        ({"customIntervalUnit": "hours"}, "incomplete"),
        ({"customIntervalUnit": "years", "customIntervalValue": 1}, "incomplete"),
        ({"customIntervalUnit": "hours", "customIntervalValue": 0, "start": "2025-05-01 10:00"}, "incomplete"),
        ({"scheduleType": "yearly"}, "incomplete"),
        ({"scheduleType": "days", "time": "25:00"}, "time '25:00' is wrong"),
        ({"scheduleType": "days", "start": "soon"}, "start 'soon' is wrong"),
        ({"scheduleType": "weeks", "daysOfWeek": ["someday"]}, "daysOfWeek has 'someday'"),
        ({"scheduleType": "months", "daysOfMonth": ["0"]}, "daysOfMonth has '0'"),
    ],
)
def test_a_wrong_schedule_stops_the_start(properties: dict[str, Any], message: str) -> None:
    with pytest.raises(StepError, match=message):
        run(TYPE, properties=properties, hook="start")


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(CancelError, match="no time zone"):
        run(TYPE, properties={"scheduleType": "days", "timezone": "Nowhere"}, hook="start")


def test_outputs_name_this_run_and_the_next() -> None:
    properties = {"scheduleType": "days", "time": "16:25", "timezone": "Europe/Istanbul", "immediate": True}
    recorder = Recorder(TYPE, properties=properties).start()
    assert recorder.take() == [
        (
            "out",
            {
                "nextDateGMT": "2025-04-25T13:25:00.000Z",
                "nextDateLocal": "2025-04-25T16:25:00+03:00",
                "timezone": "Europe/Istanbul",
                "previousDate": None,
            },
        )
    ]
    recorder.world.advance(DAY)
    assert recorder.sent == [
        (
            "out",
            {
                "nextDateGMT": "2025-04-26T13:25:00.000Z",
                "nextDateLocal": "2025-04-26T16:25:00+03:00",
                "timezone": "Europe/Istanbul",
                "previousDate": "2025-04-25T13:25:00.000Z",
            },
        )
    ]


def test_nothing_at_the_start_unless_immediate() -> None:
    recorder = run(TYPE, properties={"scheduleType": "days"}, hook="start")
    assert recorder.sent == []
    assert len(recorder.world.timers) == 1


def test_the_last_run_is_sent_without_a_next_date() -> None:
    properties = {"scheduleType": "days", "end": "2025-04-26 12:00"}
    recorder = Recorder(TYPE, properties=properties).start()
    recorder.world.advance(3 * DAY)
    assert [(c["previousDate"], c["nextDateGMT"], c["nextDateLocal"]) for _, c in recorder.sent] == [
        ("2025-04-26T00:00:00.000Z", None, None)
    ]
    assert recorder.world.timers == {}


def test_delays_do_not_pile_up() -> None:
    recorder = Recorder(TYPE, properties={"customIntervalUnit": "hours", "customIntervalValue": 2}).start()
    (timer,) = recorder.world.timers.values()
    recorder.world.timers.clear()
    recorder.world.now_ms = timer.due + 600_000
    recorder.deliver_timeout(timer)
    (following,) = recorder.world.timers.values()
    assert following.due == timer.due + 2 * 3_600_000


def inspector(**properties: Any) -> dict[str, Any]:
    recorder = run(TYPE, properties={"generateInspector": True, **properties})
    ((_, content),) = recorder.sent
    assert isinstance(content, dict)
    return content


def test_the_inspector_shows_the_next_run() -> None:
    content = inspector(scheduleType="days", time="16:25", timezone="Europe/Istanbul")
    assert content["inputs"]["nextRun"]["defaultValue"] == "2025-04-25 16:25 Europe/Istanbul"
    assert content["inputs"]["nextRun"]["readonly"] is True
    assert {"scheduleType", "daysOfWeek", "start"} <= set(content["inputs"])
    assert "advanced" in content["groups"]


def test_the_inspector_of_an_unfinished_schedule_has_no_preview() -> None:
    assert "nextRun" not in inspector(scheduleType="weeks")["inputs"]
    assert "nextRun" not in inspector()["inputs"]


def test_the_inspector_refuses_a_schedule_that_never_runs() -> None:
    with pytest.raises(StepError, match="no run comes before end"):
        inspector(scheduleType="days", end="2025-04-25 12:00")
