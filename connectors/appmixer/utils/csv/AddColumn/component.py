from __future__ import annotations

from collections.abc import Iterator

from connectors.appmixer.utils._kit.csv_line import cell_text
from connectors.appmixer.utils._kit.errors import wrong
from connectors.appmixer.utils.csv.step import Step, column, index, step
from connectors.appmixer.utils.csv.table import Row, rewrite
from engine.sdk import Component, Context

AFTER = {"afterColumn": 1, "beforeColumn": 0}


class AddColumn(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        given = step(context)
        text = cell_text(given.content.get("defaultValue"))

        def change(rows: Iterator[Row]) -> Iterator[Row]:
            first = next(rows, [])
            at = _position(given, first)
            heading = cell_text(given.content.get("columnName")) if given.with_headers else text
            yield _with(first, at, heading)
            for row in rows:
                yield _with(row, at, text)

        rewrite(context, given.file_id, given.delimiter, change)
        context.send({"fileId": given.file_id}, "fileId")


def _position(given: Step, first: Row) -> int:
    """Where the column goes; a position behind the last column means the end."""
    if not given.with_headers:
        return min(index(given.content.get("index"), "index"), len(first))
    mode = given.content.get("insertMode")
    if mode not in AFTER:
        raise wrong(f"insertMode: must be afterColumn or beforeColumn, not {mode!r}")
    return column(first, given.content.get("positioningColumn")) + AFTER[mode]


def _with(row: Row, at: int, text: str) -> Row:
    padded = row + [""] * (at - len(row))
    return [*padded[:at], text, *padded[at:]]
