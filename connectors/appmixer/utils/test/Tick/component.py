"""Tick: a message at every polling interval; for tests."""

from __future__ import annotations

from connectors.appmixer.utils._kit.dates import iso
from engine.sdk import Component, Context


class Tick(Component):
    effects = "none"

    def tick(self, context: Context) -> None:
        context.send({"time": iso(context.now())}, "out")
