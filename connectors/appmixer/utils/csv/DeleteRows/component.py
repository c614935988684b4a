from __future__ import annotations

from collections.abc import Iterator

from connectors.appmixer.utils.csv.filters import select
from connectors.appmixer.utils.csv.step import step
from connectors.appmixer.utils.csv.table import Row, rewrite
from engine.sdk import Component, Context


class DeleteRows(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        given = step(context)

        def change(rows: Iterator[Row]) -> Iterator[Row]:
            header = given.header(rows)
            if header:
                yield header
            yield from (row for row, chosen in select(context, given, header, rows) if not chosen)

        rewrite(context, given.file_id, given.delimiter, change)
        context.send({"fileId": given.file_id}, "fileId")
