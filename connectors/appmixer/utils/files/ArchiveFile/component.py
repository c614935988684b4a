from __future__ import annotations

from engine.sdk import Component, Context


class ArchiveFile(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        record = context.archive_file(context.messages["in"].content["fileId"])
        context.send({"fileId": record.file_id}, "out")
