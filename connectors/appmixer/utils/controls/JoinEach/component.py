"""JoinEach: collects the messages of a loop and hands them on as one list."""

from __future__ import annotations

import sys

from engine.sdk import Component, Context

DEFAULT_TIMEOUT = 300
"""Seconds."""


class JoinEach(Component):
    """A gather per loop id holds the items; the state keeps {count, timeoutId} under `expected:<loop id>`.

    Every message ends with a `take`: whichever completes the group gets the items, and gets them
    again should it be delivered again, when the state no longer tells the count.
    """

    effects = "state"

    def receive(self, context: Context) -> None:
        if "timeout" in context.messages:
            self._time_out(context)
        elif "count" in context.messages:
            self._expect(context)
        else:
            self._collect(context)

    def _collect(self, context: Context) -> None:
        message = context.messages["in"]
        loop = (message.content or {}).get("correlationId") or message.correlation_id
        context.gather(loop).add(message.original_content)
        expected = context.state.get(_key(loop))
        self._finish(context, loop, expected["count"] if expected else sys.maxsize)

    def _expect(self, context: Context) -> None:
        message = context.messages["count"]
        loop = message.content.get("correlationId") or message.correlation_id
        count = message.content["count"]
        if count <= 0:
            context.send({"items": []}, "out")
            return
        timeout_id = None
        if message.content.get("timeout", True):
            seconds = message.content.get("timeoutValue") or DEFAULT_TIMEOUT
            timeout_id = context.set_timeout({"correlationId": loop, "count": count}, seconds * 1000, name=loop)
        context.state.set(_key(loop), {"count": count, "timeoutId": timeout_id})
        if context.state.get(_key(loop)) is None:  # delivered again after another message completed the group
            context.clear_timeout(name=loop)
        self._finish(context, loop, count)

    def _finish(self, context: Context, loop: str, count: float) -> None:
        items = context.gather(loop).take(_whole(count))
        if items is None:
            return
        context.clear_timeout(name=loop)
        context.state.unset(_key(loop))
        context.send({"items": items}, "out")

    def _time_out(self, context: Context) -> None:
        message = context.messages["timeout"]
        loop, count = message.content["correlationId"], message.content["count"]
        expected = context.state.get(_key(loop)) or {}
        waiting = expected.get("timeoutId") == message.timeout_id
        items = context.gather(loop).take(0 if waiting else sys.maxsize)
        if items is not None:
            context.state.unset(_key(loop))
            context.send({"items": items, "count": count, "arrived": len(items)}, "timeout")


def _key(loop: str) -> str:
    return f"expected:{loop}"


def _whole(count: float) -> int:
    """Items needed: 2.5 messages have come when there are three."""
    return -int(-count // 1)
