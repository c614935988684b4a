from __future__ import annotations

from connectors.appmixer.utils._kit.errors import wrong
from connectors.appmixer.utils._kit.urls import is_web_address
from engine.sdk import Component, Context, StepError

WAIT = 30.0
LOCK_MS = 120_000
UNITS = (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000), ("second", 1_000))


class Uptime(Component):
    effects = "external"

    def start(self, context: Context) -> None:
        if not is_web_address(context.properties.get("target")):
            raise wrong(f"target: must be an http or https address, not {context.properties.get('target')!r}")

    def tick(self, context: Context) -> None:
        """State: `up`, and `downSince` (epoch ms) while it is down. A tick that overlaps another fails."""
        with context.lock(context.component_id, ttl=LOCK_MS, max_retry_count=0):
            target = context.properties["target"]
            status = _status(context, target)
            up = status is not None and status < 500
            known = context.state.get("up")
            if up is known:
                return
            now = round(context.now().timestamp() * 1000)
            context.state.set("up", up)
            if up:
                down_ms = now - context.state.get("downSince", now)
                context.state.unset("downSince")
                times = {"downTimeMs": down_ms, "downTimeText": duration(down_ms)}
                context.send({"target": target, **times, "statusCode": status}, "up")
            else:
                context.state.set("downSince", now)
                context.send({"target": target, "statusCode": status}, "down")


def _status(context: Context, target: str) -> int | None:
    """The status of the answer; None when there is none."""
    try:
        with context.http.stream("GET", target, timeout=WAIT) as (answer, _body):
            return answer.status
    except StepError as error:
        if error.code == "EACCES":
            raise  # refused by this installation: that says nothing about the site
        return None


def duration(milliseconds: int) -> str:
    """`1 hour 5 minutes`: the two largest units that are not zero."""
    parts = []
    for name, size in UNITS:
        count, milliseconds = divmod(milliseconds, size)
        if count:
            parts.append(f"{count} {name}{'' if count == 1 else 's'}")
    return " ".join(parts[:2]) or "0 seconds"
