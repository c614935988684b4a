from __future__ import annotations

from connectors.appmixer.utils.http.hook import deliver, inspector
from engine.sdk import Component, Context


class WebhookTrigger(Component):
    effects = "none"

    def receive(self, context: Context) -> None:
        if context.properties.get("generateInspector"):
            context.send(inspector(context), "request")
        else:
            deliver(context, "request")
