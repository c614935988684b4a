from __future__ import annotations

from connectors.appmixer.utils.csv.step import delimiter_of, file_id_of, headings
from connectors.appmixer.utils.csv.table import reading
from engine.sdk import Component, Context


class ImportCSV(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        picked = context.properties.get("filePickerFilename")
        if picked:
            text = context.properties.get("filePickerContent") or ""
            context.send({"fileId": context.save_file(picked, text.encode(), "text/csv").file_id}, "out")
            return
        content = context.messages["in"].content or {}
        file_id = file_id_of(content.get("fileId") or context.properties.get("fileId"))
        with reading(context, file_id, delimiter_of(content.get("delimiter"))) as rows:
            header = next(rows, None)
        context.send({**headings(header), "fileId": file_id}, "out")
