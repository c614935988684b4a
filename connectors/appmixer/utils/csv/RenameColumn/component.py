from __future__ import annotations

from collections.abc import Iterator

from connectors.appmixer.utils.csv.step import column, step
from connectors.appmixer.utils.csv.table import Row, rewrite
from engine.sdk import Component, Context


class RenameColumn(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        given = step(context)

        def change(rows: Iterator[Row]) -> Iterator[Row]:
            header = next(rows, [])
            header[column(header, given.content["columnName"])] = given.content["newColumnName"]
            yield header
            yield from rows

        rewrite(context, given.file_id, given.delimiter, change)
        context.send({"fileId": given.file_id}, "fileId")
