"""The list of time zones offered by schedules; `controls` and `timers` each have a component of it."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import Any

from engine.sdk import Component, Context

_AREAS = ("Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific")


class ListTimeZones(Component):
    """Emits {timezones: [{name, timezone}]}: a place and the id of its zone."""

    effects = "none"

    def receive(self, context: Context) -> None:
        context.send({"timezones": time_zones()}, "out")


@lru_cache(maxsize=1)
def time_zones() -> list[dict[str, str]]:
    """GMT, UTC, then every place of the zone database in order of its id."""
    ids = files("tzdata").joinpath("zones").read_text("ascii").split()
    places = sorted(zone for zone in ids if zone.partition("/")[0] in _AREAS)
    universal = [{"name": "Greenwich Mean Time", "timezone": "GMT"}, {"name": "Universal Time", "timezone": "UTC"}]
    return universal + [{"name": _place(zone), "timezone": zone} for zone in places]


def _place(zone: str) -> str:
    return zone.rpartition("/")[2].replace("_", " ")


def to_select(output: Any) -> list[dict[str, str]]:
    """Select options: label "name (timezone)", value the id of the zone."""
    zones = output.get("timezones") if isinstance(output, dict) else output
    return [{"label": f"{z['name']} ({z['timezone']})", "value": z["timezone"]} for z in zones or []]
