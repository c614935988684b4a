from __future__ import annotations

from connectors.appmixer.utils.csv.filters import select
from connectors.appmixer.utils.csv.step import column, index, step
from connectors.appmixer.utils.csv.table import reading
from engine.sdk import Component, Context


class GetCell(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        given = step(context)
        with reading(context, given.file_id, given.delimiter) as rows:
            header = given.header(rows)
            if header is None:
                at = index(given.content.get("columnIndex"), "columnIndex")
            else:
                at = column(header, given.content.get("column"))
            row = next((row for row, chosen in select(context, given, header, rows) if chosen), [])
        cell = given.value(row[at]) if at < len(row) else None
        context.send({"fileId": given.file_id, "cell": cell}, "out")
