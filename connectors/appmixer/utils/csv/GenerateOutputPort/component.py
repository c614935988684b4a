from __future__ import annotations

from connectors.appmixer.utils.csv.step import delimiter_of, headings
from connectors.appmixer.utils.csv.table import Row, parse_text, reading
from engine.sdk import Component, Context, HeadraceError


class GenerateOutputPort(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        """Fails soft, as a source must: what cannot be read has no columns."""
        try:
            header = _header(context)
        except HeadraceError as error:
            context.log(f"no columns to offer: {error.message}")
            header = None
        context.send(headings(header), "out")


def _header(context: Context) -> Row | None:
    text = context.properties.get("initialContent") or ""
    file_id = context.properties.get("fileId") or ""
    if "{{{" in f"{text}{file_id}":
        return None  # still a variable: its value is known only when the flow runs
    delimiter = delimiter_of(context.properties.get("delimiter"))
    if file_id:
        with reading(context, file_id, delimiter) as rows:
            return next(rows, None)
    return next(iter(parse_text(text, delimiter)), None)
