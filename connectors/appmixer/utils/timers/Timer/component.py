"""Timer: a message at the start and then every so many minutes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from connectors.appmixer.utils._kit.dates import iso
from connectors.appmixer.utils._kit.recurring import arm, is_current
from engine.sdk import Component, Context


class Timer(Component):
    """A time-out carries the time of the last message and the one it was due at, in epoch milliseconds."""

    effects = "state"

    def start(self, context: Context) -> None:
        context.send({"now": iso(context.now())}, "out")
        self._next(context, context.now())

    def receive(self, context: Context) -> None:
        if not is_current(context):
            return
        now = context.now()
        last, due = (_from_ms(context.messages["timeout"].content[name]) for name in ("last", "due"))
        elapsed = round((now - last).total_seconds() * 1000)
        context.send({"now": iso(now), "lastTick": iso(last), "elapsed": elapsed}, "out")
        self._next(context, due)

    def _next(self, context: Context, previous: datetime) -> None:
        """Count from when the last tick was due, so delays do not add up; ticks that were missed are not made up."""
        interval = timedelta(minutes=context.properties["interval"])
        due = previous + interval
        if due <= context.now():
            due = context.now() + interval
        arm(context, due, {"last": _to_ms(context.now()), "due": _to_ms(due)})


def _to_ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _from_ms(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
