"""Calendars, time zones and cron for the components that act at certain times."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from engine.sdk import CancelError


def iso(moment: datetime) -> str:
    """`2026-01-31T08:15:00.123Z`, whatever the zone of `moment`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def zone(name: Any) -> ZoneInfo:
    """The named time zone, GMT when no name is given. Raises CancelError for an unknown one."""
    if not name:
        return ZoneInfo("GMT")
    try:
        return ZoneInfo(name)
    except (LookupError, OSError, TypeError, ValueError) as error:
        raise CancelError(f"{name!r} is no time zone; use a name such as Europe/Prague") from error


def add_months(moment: datetime, months: int) -> datetime:
    """The same day and time so many months later, or the last day of a month that is too short."""
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    day = min(moment.day, calendar.monthrange(year, month + 1)[1])
    return moment.replace(year=year, month=month + 1, day=day)


def add(moment: datetime, amount: int, unit: str) -> datetime:
    """`unit` is m, h, d, w, M or y (minutes to years).

    Minutes and hours are spans of time; from days up the clock time in the moment's zone stays.
    """
    if unit in ("m", "h"):
        span = timedelta(minutes=amount) if unit == "m" else timedelta(hours=amount)
        return (moment.astimezone(UTC) + span).astimezone(moment.tzinfo)
    if unit in ("d", "w"):
        return moment + timedelta(days=amount if unit == "d" else amount * 7)
    return add_months(moment, amount if unit == "M" else amount * 12)


def next_cron(properties: Any, after: datetime) -> datetime:
    """The first moment after `after` that fits the fields minute, hour, dayMonth and dayWeek of `properties`.

    Every month counts. An empty minute is 0, another empty field is `*`. The fields are read in the
    zone `timezone` names. Raises CancelError when the zone or a field is wrong, or no day ever fits.
    """
    from cronsim import CronSim, CronSimError

    local = after.astimezone(zone(properties.get("timezone")))
    minute, hour, day_month, day_week = (
        "".join(str(properties.get(name) or empty).split()).replace("?", "*")
        for name, empty in (("minute", "0"), ("hour", "*"), ("dayMonth", "*"), ("dayWeek", "*"))
    )
    fields = f"{minute} {hour} {day_month} * {day_week}"
    try:
        return next(CronSim(fields, local)).astimezone(UTC)
    except CronSimError as error:
        raise CancelError(f"the schedule {fields!r} (minute hour day month weekday) is wrong: {error}") from error
    except StopIteration:
        raise CancelError(f"the schedule {fields!r} (minute hour day month weekday) never comes due") from None
