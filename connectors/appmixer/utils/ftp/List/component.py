from __future__ import annotations

from connectors.appmixer.utils.ftp.remote import path_of, server_of
from engine.sdk import Component, Context


class List(Component):
    effects = "external"

    def receive(self, context: Context) -> None:
        with server_of(context) as server:
            context.send({"content": server.entries(path_of(context, required=False))}, "out")
