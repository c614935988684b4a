from __future__ import annotations

from datetime import datetime
from typing import Any

from connectors.appmixer.utils._kit.options import option
from connectors.appmixer.utils.ftp.remote import is_sftp, not_found, path_of, server_of
from engine.sdk import Component, Context, StepError

FTP_LABELS = {
    "name": "Name",
    "type": "Type",
    "size": "Size in bytes",
    "rawModifiedAt": "Changed, as the server says (ms)",
    "modifiedAt": "Changed (ms)",
}
SFTP_LABELS = {
    "name": "Name",
    "type": "Type",
    "size": "Size in bytes",
    "modifyTime": "Changed (ms)",
    "accessTime": "Read (ms)",
    "rights": "Rights",
    "longname": "Listing",
}


class GetFileInfo(Component):
    effects = "external"

    def receive(self, context: Context) -> None:
        labels = SFTP_LABELS if is_sftp(context) else FTP_LABELS
        if context.properties.get("generateOutputPortOptions"):
            context.send([option(label, name) for name, label in labels.items()], "out")
            return
        path = path_of(context)
        with server_of(context) as server:
            try:
                entry = server.info(path)
            except StepError as error:
                not_found(context, path, error)
                return
        if entry is not None:
            context.send({name: _plain(name, entry) for name in labels}, "out")


def _plain(name: str, entry: dict[str, Any]) -> Any:
    """Dates as ms; one the server writes in its own way is that of `modifiedAt`."""
    if name not in ("rawModifiedAt", "modifiedAt"):
        return entry[name]
    modified = entry["modifiedAt"]
    return None if modified is None else round(datetime.fromisoformat(modified).timestamp() * 1000)
