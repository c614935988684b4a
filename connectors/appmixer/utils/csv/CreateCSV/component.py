from __future__ import annotations

from connectors.appmixer.utils.csv.step import delimiter_of, headings
from connectors.appmixer.utils.csv.table import parse_text
from engine.sdk import Component, Context


class CreateCSV(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        content = context.messages["in"].content
        text = content.get("initialContent") or ""
        rows = parse_text(text, delimiter_of(content.get("delimiter")))
        record = context.save_file(content["filename"], text.encode(), "text/csv")
        context.send({**headings(next(iter(rows), None)), "fileId": record.file_id}, "out")
