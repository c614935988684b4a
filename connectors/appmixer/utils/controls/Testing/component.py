"""Testing: shows every kind of input field; emits the time."""

from __future__ import annotations

from connectors.appmixer.utils._kit.dates import iso
from engine.sdk import Component, Context


class Testing(Component):
    effects = "none"

    def receive(self, context: Context) -> None:
        context.send({"out1value": iso(context.now())}, "out")
