"""When SchedulerTrigger runs: the rules of spec/utils-components.md, "SchedulerTrigger rules"."""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from connectors.appmixer.utils._kit.dates import add, add_months, zone
from connectors.appmixer.utils._kit.errors import wrong

DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
LAST_DAY = "last day of the month"
UNITS = {"minutes": "m", "hours": "h", "days": "d", "weeks": "w"}


@dataclass(frozen=True, slots=True)
class Schedule:
    """The properties of a SchedulerTrigger, read. `start` and `end` are aware and in `zone`."""

    kind: str
    zone: ZoneInfo
    hour: int
    minute: int
    days_of_week: tuple[str, ...]
    days_of_month: tuple[str, ...]
    unit: str | None
    amount: int
    start: datetime | None
    end: datetime | None

    @classmethod
    def read(cls, properties: Mapping[str, Any]) -> Schedule:
        """Raises StepError naming a property that cannot be read, CancelError for an unknown zone."""
        tz = zone(properties.get("timezone"))
        hour, minute = _time(properties.get("time"))
        return cls(
            kind=properties.get("scheduleType") or "custom",
            zone=tz,
            hour=hour,
            minute=minute,
            days_of_week=_texts(properties.get("daysOfWeek"), "daysOfWeek", DAYS),
            days_of_month=_texts(properties.get("daysOfMonth"), "daysOfMonth", (LAST_DAY, *map(str, range(1, 32)))),
            unit=properties.get("customIntervalUnit"),
            amount=int(properties.get("customIntervalValue") or 0),
            start=_moment(properties.get("start"), "start", tz),
            end=_moment(properties.get("end"), "end", tz),
        )

    @property
    def complete(self) -> bool:
        """Is enough filled in to tell the next run?"""
        return {
            "custom": self.unit in UNITS and self.amount > 0,
            "days": True,
            "weeks": bool(self.days_of_week),
            "months": bool(self.days_of_month),
        }.get(self.kind, False)

    def first(self, now: datetime) -> datetime:
        """The first run of a flow that starts now, in UTC.

        Raises StepError when `start` is past, or no run comes before `end`.
        """
        if self.start is not None and self.start < now:
            raise wrong(f"start {self.start:%Y-%m-%d %H:%M} is in the past; choose a later one or leave it empty")
        if self.start is not None and self.end is not None and self.start > self.end:
            raise wrong(f"start {self.start:%Y-%m-%d %H:%M} comes after end {self.end:%Y-%m-%d %H:%M}")
        if self.kind == "custom" and self.start is not None:
            self._check()
            return self.start.astimezone(UTC)
        found = self.after(self.start or now)
        if found is None:
            raise wrong(f"no run comes before end {self.end:%Y-%m-%d %H:%M}; choose a later end")
        return found

    def after(self, base: datetime) -> datetime | None:
        """The run that follows `base` (the run before it, or where the schedule begins), in UTC; None after `end`."""
        self._check()
        local = base.astimezone(self.zone)
        if self.kind == "custom":
            found = add(local, self.amount, UNITS[str(self.unit)])
        else:
            found = {"days": self._next_day, "weeks": self._next_week, "months": self._next_month}[self.kind](local)
        return None if self.end is not None and found > self.end else found.astimezone(UTC)

    def _check(self) -> None:
        if not self.complete:
            raise wrong(f"the schedule is incomplete: scheduleType {self.kind!r} needs its days, or unit and value")

    def _at_time(self, day: datetime) -> datetime:
        return day.replace(hour=self.hour, minute=self.minute, second=0, microsecond=0, fold=0)

    def _next_day(self, base: datetime) -> datetime:
        today = self._at_time(base)
        return today if today > base else today + timedelta(days=1)

    def _next_week(self, base: datetime) -> datetime:
        """The week begins on Sunday."""
        sunday = self._at_time(base) - timedelta(days=(base.weekday() + 1) % 7)
        runs = sorted(sunday + timedelta(days=DAYS.index(day)) for day in self.days_of_week)
        return next((run for run in runs if run > base), runs[0] + timedelta(days=7))

    def _next_month(self, base: datetime) -> datetime:
        """As in the original, the last day wins over all others, else only the smallest chosen day counts."""
        here = self._day_of_month(self._at_time(base))
        return here if here > base else self._day_of_month(add_months(self._at_time(base).replace(day=1), 1))

    def _day_of_month(self, month: datetime) -> datetime:
        last = calendar.monthrange(month.year, month.month)[1]
        if LAST_DAY in self.days_of_month:
            return month.replace(day=last)
        return month.replace(day=min(min(map(int, self.days_of_month)), last))


def _time(text: Any) -> tuple[int, int]:
    if not text:
        return 0, 0
    try:
        found = datetime.strptime(str(text).strip(), "%H:%M")  # noqa: DTZ007 only the clock is read
    except ValueError as error:
        raise wrong(f"time {text!r} is wrong; write it as 14:30") from error
    return found.hour, found.minute


def _texts(values: Any, name: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    found = tuple(str(v).lower() for v in values or ())
    if unknown := [v for v in found if v not in allowed]:
        raise wrong(f"{name} has {unknown[0]!r}; use any of {', '.join(allowed)}")
    return found


def _moment(text: Any, name: str, tz: ZoneInfo) -> datetime | None:
    """`YYYY-MM-DD HH:mm` is local time; a text with a zone of its own keeps it."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(str(text).strip())
    except ValueError as error:
        raise wrong(f"{name} {text!r} is wrong; write it as 2026-01-31 08:15") from error
    return found.replace(tzinfo=tz) if found.tzinfo is None else found.astimezone(tz)
