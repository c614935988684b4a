from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from engine.sdk import Component, Context


class LoadFileLines(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        context.send_array(_lines(context, context.messages["in"].content["fileId"]), "content")


def _lines(context: Context, file_id: str) -> Iterator[dict[str, Any]]:
    """Lines end with LF, CRLF or CR; a line end at the end of the file begins no further line."""
    file = cast(BinaryIO, context.open_file(file_id))
    with io.TextIOWrapper(file, "utf-8", errors="replace") as text:
        for index, line in enumerate(text):
            yield {"index": index, "line": line.removesuffix("\n")}
