from __future__ import annotations

from typing import Any

import orjson

from connectors.appmixer.utils.csv.step import arranged, step
from connectors.appmixer.utils.csv.table import append
from engine.sdk import CancelError, Component, Context


class AddRows(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        given = step(context)
        rows = _list(given.content.get("rows"))
        append(context, given.file_id, given.delimiter, lambda header: arranged(rows, header))
        context.send({"fileId": given.file_id}, "fileId")


def _list(rows: Any) -> list[Any]:
    if isinstance(rows, str):
        try:
            rows = orjson.loads(rows)
        except orjson.JSONDecodeError as error:
            raise CancelError(f"rows: must be a list or the JSON text of one: {error}") from error
    if not isinstance(rows, list):
        raise CancelError(f"rows: must be a list of rows, not {rows!r}")
    return rows
