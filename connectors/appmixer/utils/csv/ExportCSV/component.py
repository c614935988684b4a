from __future__ import annotations

from connectors.appmixer.utils.csv.step import file_id_of
from connectors.appmixer.utils.csv.table import read_text
from engine.sdk import Component, Context


class ExportCSV(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        text = read_text(context, file_id_of(context.messages["in"].content.get("fileId")))
        context.send({"content": text}, "content")
