"""What the webhook triggers have in common."""

from __future__ import annotations

from typing import Any

from connectors.appmixer.utils._kit.inputs import flag
from connectors.appmixer.utils.http.hook_form import form
from engine.sdk import Context

PARTS = ("method", "data", "query", "headers", "hostname")
ASKED_FOR = ("rawBody", "claims")
"""What a call has only when the settings of the trigger ask for it."""


def deliver(context: Context, port: str) -> None:
    """Emit the call. Unless a later step shall answer it, its data goes back to the caller at once."""
    call = context.messages["webhook"].content
    parts = {name: call.get(name) for name in PARTS}
    context.send({**parts, **{name: call[name] for name in ASKED_FOR if name in call}}, port)
    if flag(context.properties.get("immediateResponse"), default=True):
        context.respond(call.get("data"))


def inspector(context: Context) -> dict[str, Any]:
    """The form of the settings, with the component's address to copy."""
    return {
        "inputs": {
            "url": {
                "type": "text",
                "label": "Address",
                "tooltip": "Calls to this address start the flow.",
                "index": 1,
                "readonly": True,
                "defaultValue": context.webhook_url(),
            },
            "immediateResponse": {
                "type": "toggle",
                "label": "Answer at once",
                "tooltip": "On: the caller gets its own data back. Off: a Response step of the flow answers.",
                "index": 2,
                "defaultValue": True,
            },
            **form(3),
        }
    }
