"""Calendar sums and cron, across changes of the clock."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from connectors.appmixer.utils._kit.dates import add, add_months, iso, next_cron, zone
from connectors.appmixer.utils._kit.time_zones import time_zones, to_select
from engine.sdk import CancelError

NOW = datetime(2025, 4, 25, 7, 38, 12, tzinfo=UTC)


def cron(after: datetime, **properties: Any) -> str:
    return iso(next_cron(properties, after))


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"minute": "*"}, "2025-04-25T07:39:00.000Z"),
        ({"minute": "*/15"}, "2025-04-25T07:45:00.000Z"),
        ({"minute": "10,50"}, "2025-04-25T07:50:00.000Z"),
        ({"minute": "0-20/10", "hour": "9"}, "2025-04-25T09:00:00.000Z"),
        ({"hour": "9"}, "2025-04-25T09:00:00.000Z"),
        ({"dayMonth": "1", "minute": "0", "hour": "0"}, "2025-05-01T00:00:00.000Z"),
        ({"dayWeek": "MON-WED", "minute": "0", "hour": "0"}, "2025-04-28T00:00:00.000Z"),
        ({"dayWeek": "0", "minute": "0", "hour": "0"}, "2025-04-27T00:00:00.000Z"),
        ({"dayMonth": "13", "dayWeek": "sat", "minute": "0", "hour": "0"}, "2025-04-26T00:00:00.000Z"),
        ({"dayMonth": "31", "minute": "0", "hour": "0"}, "2025-05-31T00:00:00.000Z"),
        ({"minute": "0", "hour": "9", "timezone": "Europe/Prague"}, "2025-04-26T07:00:00.000Z"),
        ({"minute": " 5 ", "hour": "?"}, "2025-04-25T08:05:00.000Z"),
    ],
)
def test_next_moment_of_a_schedule(properties: dict[str, str], expected: str) -> None:
    assert cron(NOW, **properties) == expected


def test_a_moment_that_fits_exactly_is_not_its_own_next() -> None:
    assert cron(datetime(2025, 4, 25, 7, 45, tzinfo=UTC), minute="45") == "2025-04-25T08:45:00.000Z"


def test_a_time_skipped_in_spring_runs_once_right_after_the_change() -> None:
    before = datetime(2025, 3, 29, 12, tzinfo=UTC)
    first = next_cron({"minute": "30", "hour": "2", "timezone": "Europe/Prague"}, before)
    assert iso(first) == "2025-03-30T01:00:00.000Z"  # 02:30 does not exist that day
    assert iso(next_cron({"minute": "30", "hour": "2", "timezone": "Europe/Prague"}, first)) == (
        "2025-03-31T00:30:00.000Z"
    )


def test_a_time_repeated_in_autumn_runs_once() -> None:
    before = datetime(2025, 10, 25, 12, tzinfo=UTC)
    first = next_cron({"minute": "30", "hour": "2", "timezone": "Europe/Prague"}, before)
    assert iso(first) == "2025-10-26T00:30:00.000Z"
    assert iso(next_cron({"minute": "30", "hour": "2", "timezone": "Europe/Prague"}, first)) == (
        "2025-10-27T01:30:00.000Z"
    )


def test_an_hourly_schedule_runs_in_both_repeated_hours() -> None:
    properties = {"minute": "30", "timezone": "Europe/Prague"}
    first = next_cron(properties, datetime(2025, 10, 26, 0, 0, tzinfo=UTC))
    assert [iso(first), iso(next_cron(properties, first))] == ["2025-10-26T00:30:00.000Z", "2025-10-26T01:30:00.000Z"]


@pytest.mark.parametrize(
    "properties", [{"minute": "61"}, {"hour": "x"}, {"dayMonth": "0"}, {"dayWeek": "9"}, {"minute": "*/0"}]
)
def test_a_wrong_field_is_refused_and_the_schedule_named(properties: dict[str, str]) -> None:
    with pytest.raises(CancelError, match="minute hour day month weekday"):
        next_cron(properties, NOW)


@pytest.mark.parametrize("name", ["Mars/Olympus", "../etc/passwd", "/etc/localtime", 7, "Europe"])
def test_an_unknown_zone_is_refused(name: Any) -> None:
    with pytest.raises(CancelError, match="no time zone"):
        zone(name)


def test_no_zone_is_gmt() -> None:
    assert zone(None).key == zone("").key == "GMT"


@pytest.mark.parametrize(
    ("amount", "unit", "expected"),
    [
        (5, "m", "2025-04-25T07:43:12.000Z"),
        (2, "h", "2025-04-25T09:38:12.000Z"),
        (7, "d", "2025-05-02T07:38:12.000Z"),
        (1, "w", "2025-05-02T07:38:12.000Z"),
        (2, "M", "2025-06-25T07:38:12.000Z"),
        (1, "y", "2026-04-25T07:38:12.000Z"),
    ],
)
def test_spans_of_time(amount: int, unit: str, expected: str) -> None:
    assert iso(add(NOW, amount, unit)) == expected


def test_months_end_on_the_last_day_of_a_shorter_one() -> None:
    assert add_months(datetime(2024, 1, 31, tzinfo=UTC), 1) == datetime(2024, 2, 29, tzinfo=UTC)
    assert add(datetime(2024, 2, 29, tzinfo=UTC), 1, "y") == datetime(2025, 2, 28, tzinfo=UTC)
    assert add_months(datetime(2024, 12, 15, tzinfo=UTC), 1) == datetime(2025, 1, 15, tzinfo=UTC)


def test_a_day_keeps_the_clock_time_and_hours_do_not() -> None:
    saturday = datetime(2025, 3, 29, 12, tzinfo=zone("Europe/Prague"))
    assert add(saturday, 1, "d").hour == 12
    assert add(saturday, 24, "h").hour == 13


def test_time_zones_are_known_places_and_their_ids() -> None:
    zones = time_zones()
    assert {"name": "Prague", "timezone": "Europe/Prague"} in zones
    assert {"name": "New York", "timezone": "America/New_York"} in zones
    assert all(zone(z["timezone"]) for z in zones)
    options = to_select({"timezones": zones})
    assert {"label": "Prague (Europe/Prague)", "value": "Europe/Prague"} in options
    assert to_select(None) == []
