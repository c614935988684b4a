from __future__ import annotations

from connectors.appmixer.utils.ftp.remote import or_not_found, path_of, server_of
from engine.sdk import Component, Context


class RenameFile(Component):
    effects = "external"

    def receive(self, context: Context) -> None:
        path, new_path = path_of(context), path_of(context, "newPath")
        with server_of(context) as server:
            or_not_found(context, path, lambda: server.rename(path, new_path))
