"""Wait: hands a message on after a time, or at one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from connectors.appmixer.utils._kit.convert import parse_date
from connectors.appmixer.utils._kit.dates import add
from engine.sdk import Component, Context, StepError


class Wait(Component):
    """Emits its own fields, as the original does; later steps read what came before through scope."""

    effects = "state"

    def receive(self, context: Context) -> None:
        if "timeout" in context.messages:
            context.send(context.messages["timeout"].content, "out")
            return
        fields = context.messages["in"].content
        due = _due(fields, context.now())
        wait = due - context.now()
        if wait <= timedelta(0):
            context.send(fields, "out")
            return
        context.set_timeout(fields, wait.total_seconds() * 1000)


def _due(fields: Mapping[str, Any], now: datetime) -> datetime:
    if interval := fields.get("interval"):
        try:
            return add(now, int(interval[:-1]), interval[-1])
        except (OverflowError, ValueError) as error:
            raise StepError(f"interval {interval!r} is beyond the calendar; wait less", retryable=False) from error
    until = parse_date(str(fields.get("until")))
    if until is None:
        message = f"until {fields.get('until')!r} is no date; use one such as 2026-01-31 or 2026-01-31T08:15:00Z"
        raise StepError(message, retryable=False)
    return until
