from __future__ import annotations

from connectors.appmixer.utils.ftp.remote import path_of, server_of
from engine.sdk import Component, Context


class CreateDirectory(Component):
    effects = "external"

    def receive(self, context: Context) -> None:
        path = path_of(context)
        with server_of(context) as server:
            server.make_directories(path)
        context.send({}, "out")
