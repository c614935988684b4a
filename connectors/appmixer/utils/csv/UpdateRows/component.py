from __future__ import annotations

from collections.abc import Iterator

from connectors.appmixer.utils._kit.csv_line import cell_text
from connectors.appmixer.utils._kit.inputs import entries
from connectors.appmixer.utils.csv.filters import select
from connectors.appmixer.utils.csv.step import Step, column, index, put, step
from connectors.appmixer.utils.csv.table import Row, rewrite
from engine.sdk import Component, Context


class UpdateRows(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        given = step(context)

        def change(rows: Iterator[Row]) -> Iterator[Row]:
            header = given.header(rows)
            cells = _cells(given, header)
            if header:
                yield header
            for row, chosen in select(context, given, header, rows):
                if chosen:
                    for at, text in cells:
                        put(row, at, text)
                yield row

        rewrite(context, given.file_id, given.delimiter, change)
        context.send({"fileId": given.file_id}, "fileId")


def _cells(given: Step, header: Row | None) -> list[tuple[int, str]]:
    """What to write where."""
    if header is None:
        return [
            (index(cell.get("column"), "indexedValues"), cell_text(cell.get("value")))
            for cell in entries(given.content.get("indexedValues"), "AND")
        ]
    values = entries(given.content.get("values"), "AND")
    return [(column(header, cell.get("column")), cell_text(cell.get("value"))) for cell in values]
