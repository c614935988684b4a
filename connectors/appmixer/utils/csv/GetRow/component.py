from __future__ import annotations

from connectors.appmixer.utils.csv.filters import select
from connectors.appmixer.utils.csv.step import step
from connectors.appmixer.utils.csv.table import reading
from engine.sdk import Component, Context


class GetRow(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        given = step(context)
        with reading(context, given.file_id, given.delimiter) as rows:
            header = given.header(rows)
            row = next((row for row, chosen in select(context, given, header, rows) if chosen), None)
        found = None if row is None else given.row(header, row)
        context.send({"fileId": given.file_id, "row": found}, "out")
