"""SchedulerTrigger: a message every so many days, on days of the week or month, or at an interval."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from connectors.appmixer.utils._kit.dates import iso
from connectors.appmixer.utils._kit.recurring import arm, is_current
from connectors.appmixer.utils.timers.schedule import Schedule
from engine.sdk import Component, Context


class SchedulerTrigger(Component):
    """A time-out carries the date it is due at, {due: ISO text}: the base of the date after it."""

    effects = "state"

    def start(self, context: Context) -> None:
        schedule = Schedule.read(context.properties)
        upcoming = schedule.first(context.now())
        if context.properties.get("immediate"):
            _emit(context, schedule, upcoming, None)
        arm(context, upcoming, {"due": iso(upcoming)})

    def receive(self, context: Context) -> None:
        if context.properties.get("generateInspector"):
            context.send(_inspector(context), "out")
        elif is_current(context):
            schedule = Schedule.read(context.properties)
            due = datetime.fromisoformat(context.messages["timeout"].content["due"])
            upcoming = schedule.after(due)
            _emit(context, schedule, upcoming, due)
            if upcoming is not None:
                arm(context, upcoming, {"due": iso(upcoming)})


def _emit(context: Context, schedule: Schedule, upcoming: datetime | None, previous: datetime | None) -> None:
    local = upcoming.astimezone(schedule.zone).isoformat(timespec="seconds") if upcoming else None
    output = {
        "nextDateGMT": iso(upcoming) if upcoming else None,
        "nextDateLocal": local,
        "timezone": schedule.zone.key,
        "previousDate": iso(previous) if previous else None,
    }
    context.send(output, "out")


def _inspector(context: Context) -> dict[str, Any]:
    """The inspector of component.json with the date of the next run, once enough is filled in to tell.

    Raises StepError when the schedule ends before its first run.
    """
    inspector: dict[str, Any] = orjson.loads(_inspector_json())
    schedule = Schedule.read(context.properties)
    if schedule.complete:
        upcoming = schedule.first(context.now())
        text = f"{upcoming.astimezone(schedule.zone):%Y-%m-%d %H:%M} {schedule.zone.key}"
        shown = {"type": "text", "label": "Next run", "readonly": True, "defaultValue": text, "index": 9}
        inspector["inputs"]["nextRun"] = shown
    return inspector


@lru_cache(maxsize=1)
def _inspector_json() -> bytes:
    manifest = orjson.loads(Path(__file__).with_name("component.json").read_bytes())
    return orjson.dumps(manifest["properties"]["inspector"])
