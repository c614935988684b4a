"""OnStart: one message when the flow starts."""

from __future__ import annotations

from connectors.appmixer.utils._kit.dates import iso
from engine.sdk import Component, Context


class OnStart(Component):
    effects = "none"

    def start(self, context: Context) -> None:
        context.send({"started": iso(context.now())}, "out")
