from __future__ import annotations

from typing import Any

from connectors.appmixer.utils._kit.inputs import entries
from connectors.appmixer.utils.storage.entry import found
from engine.sdk import Component, Context


class GetMany(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        """One port fires: with at least one hit the missing keys are left out."""
        given = context.messages["in"].content
        keys = [entry.get("key", "") for entry in entries(given["keys"], "AND")]
        hits = [entry for key in keys if (entry := found(context, given["storeId"], key)) is not None]
        port = "out" if hits else "notFound"
        answer: dict[str, Any] = {"results": hits} if hits else {"notFound": keys} if keys else {"keys": []}
        context.send(answer, port)
        context.respond(answer)
