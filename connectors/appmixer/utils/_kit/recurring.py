"""A time-out that sets itself again: one chain of ticks for each run of a flow.

The state keeps the id of the pending time-out and of the one that set it. Another one belongs
to an earlier run (a message retried by hand, say) and is ignored; the one before may come again
after a crash, when its output may be lost: it is then handled once more, under the same ids.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from engine.sdk import Context

_KEY = "timer"


def arm(context: Context, due: datetime, content: Any = None) -> None:
    """Call `receive` at `due`, with `content`."""
    incoming = context.messages.get("timeout")
    milliseconds = max((due - context.now()).total_seconds() * 1000, 0)
    timeout_id = context.set_timeout(content, milliseconds)
    context.state.set(_KEY, {"id": timeout_id, "previous": incoming.timeout_id if incoming else None})


def is_current(context: Context) -> bool:
    """Is the time-out of this call the one that was armed last, or a repetition of it?"""
    armed = context.state.get(_KEY) or {}
    return context.messages["timeout"].timeout_id in (armed.get("id"), armed.get("previous"))
