from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from connectors.appmixer.utils._kit.dates import iso
from connectors.appmixer.utils.ftp.remote import checked_path, server_of
from engine.sdk import Component, Context

KNOWN = "known"
LOCK_MS = 10 * 60_000


class NewFile(Component):
    effects = "external"

    def tick(self, context: Context) -> None:
        """State `known`: the names of the last tick. The first tick only takes them down."""
        path = checked_path(context.properties.get("path") or "", "path", required=False)
        with context.lock(context.component_id, ttl=LOCK_MS, max_retry_count=0):
            with server_of(context) as server:
                entries = server.entries(path)
            known = context.state.get(KNOWN)
            if known is not None:
                seen = set(known)
                context.send_array((_item(entry) for entry in entries if entry["name"] not in seen), "out")
            context.state.set(KNOWN, [entry["name"] for entry in entries])


def _item(entry: dict[str, Any]) -> dict[str, Any]:
    """An SFTP entry has its time under another name than the port offers."""
    if "modifyTime" not in entry:
        return entry
    modified = datetime.fromtimestamp(entry["modifyTime"] / 1000, UTC)
    return {**entry, "modifiedAt": iso(modified)}
