from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from connectors.appmixer.utils._kit.inputs import flag
from connectors.appmixer.utils.csv.filters import select
from connectors.appmixer.utils.csv.step import Step, step
from connectors.appmixer.utils.csv.table import reading
from engine.sdk import Component, Context


class GetRows(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        given = step(context)
        found = _found(context, given)
        if flag(given.content.get("allAtOnce"), default=True):
            context.send({"fileId": given.file_id, "rows": list(found)}, "out")
        else:
            context.send_array(({"fileId": given.file_id, "rows": row} for row in found), "out")


def _found(context: Context, given: Step) -> Iterator[Any]:
    with reading(context, given.file_id, given.delimiter) as rows:
        header = given.header(rows)
        if flag(context.properties.get("filterRows"), default=True):
            yield from (given.row(header, row) for row, chosen in select(context, given, header, rows) if chosen)
        else:
            yield from (given.row(header, row) for row in rows)
