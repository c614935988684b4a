from __future__ import annotations

from typing import Any

from connectors.appmixer.utils._kit.errors import wrong
from connectors.appmixer.utils._kit.inputs import entries
from connectors.appmixer.utils.csv.step import Step, arranged, step
from connectors.appmixer.utils.csv.table import append, parse_text
from engine.sdk import Component, Context


class AddRow(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        given = step(context)
        rows = _rows(given)
        append(context, given.file_id, given.delimiter, lambda header: arranged(rows, header))
        context.send({"fileId": given.file_id}, "fileId")


def _rows(given: Step) -> list[Any]:
    if given.with_headers:
        cells = entries(given.content.get("rowWithColumns"), "AND")
        return [{cell.get("column"): cell.get("value") for cell in cells}]
    row = given.content.get("row")
    rows = parse_text(row, given.delimiter) if isinstance(row, str) else [row]
    if not rows:
        raise wrong("row: give the cells of the row, as a list or as text with delimiters")
    return rows
