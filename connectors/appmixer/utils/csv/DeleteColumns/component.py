from __future__ import annotations

from collections.abc import Container, Iterator
from itertools import chain

from connectors.appmixer.utils._kit.csv_line import cell_text
from connectors.appmixer.utils.csv.step import Numbers, Step, column, step
from connectors.appmixer.utils.csv.table import Row, rewrite
from engine.sdk import Component, Context


class DeleteColumns(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        given = step(context)

        def change(rows: Iterator[Row]) -> Iterator[Row]:
            first = next(rows, [])
            gone = _columns(given, first)
            for row in chain([first], rows):
                if kept := [cell for at, cell in enumerate(row) if at not in gone]:
                    yield kept

        rewrite(context, given.file_id, given.delimiter, change)
        context.send({"fileId": given.file_id}, "fileId")


def _columns(given: Step, header: Row) -> Container[int]:
    if not given.with_headers:
        return Numbers(given.content.get("indexes"), "indexes")
    columns = given.content.get("columns")
    names = columns if isinstance(columns, list) else cell_text(columns).split(",")
    return {column(header, name) for name in names}
