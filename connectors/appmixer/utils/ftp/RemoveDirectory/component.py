from __future__ import annotations

from connectors.appmixer.utils.ftp.remote import or_not_found, path_of, server_of
from engine.sdk import Component, Context


class RemoveDirectory(Component):
    effects = "external"

    def receive(self, context: Context) -> None:
        path = path_of(context)
        with server_of(context) as server:
            or_not_found(context, path, lambda: server.remove_tree(path))
