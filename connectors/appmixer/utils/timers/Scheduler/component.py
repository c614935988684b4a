"""Scheduler: a message at the times of a cron schedule."""

from __future__ import annotations

from connectors.appmixer.utils._kit.dates import iso, next_cron
from connectors.appmixer.utils._kit.recurring import arm, is_current
from engine.sdk import Component, Context


class Scheduler(Component):
    """A time-out carries the date of the message before it: {previous: ISO text or null}."""

    effects = "state"

    def start(self, context: Context) -> None:
        now = context.now()
        upcoming = next_cron(context.properties, now)
        immediate = bool(context.properties.get("immediate"))
        if immediate:
            context.send({"now": iso(now), "previousDate": None, "nextDate": iso(upcoming)}, "out")
        arm(context, upcoming, {"previous": iso(now) if immediate else None})

    def receive(self, context: Context) -> None:
        if not is_current(context):
            return
        now = context.now()
        upcoming = next_cron(context.properties, now)
        previous = context.messages["timeout"].content["previous"]
        context.send({"now": iso(now), "previousDate": previous, "nextDate": iso(upcoming)}, "out")
        arm(context, upcoming, {"previous": iso(now)})
