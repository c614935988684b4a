from __future__ import annotations

from connectors.appmixer.utils.http.hook import deliver, inspector
from engine.sdk import Component, Context


class Webhook(Component):
    effects = "none"

    def receive(self, context: Context) -> None:
        if context.properties.get("generateInspector"):
            context.send(inspector(context), "trigger")
        elif "webhook" in context.messages:
            deliver(context, "trigger")
        else:
            context.respond(context.messages["response"].content)
