"""Writing one line of CSV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from connectors.appmixer.utils._kit.convert import json_text, script_text


def cell_text(value: Any) -> str:
    """A value as it stands in a file: nothing for null, JSON for lists and objects."""
    if value is None:
        return ""
    return json_text(value) if isinstance(value, list | dict) else script_text(value)


def line_of(row: Sequence[str], delimiter: str) -> str:
    """A row as a line without its end; a cell is quoted when it would be read differently otherwise."""
    if len(row) == 1 and not row[0]:
        return '""'
    special = (delimiter, '"', "\n", "\r")
    return delimiter.join(
        '"' + cell.replace('"', '""') + '"' if any(mark in cell for mark in special) else cell for cell in row
    )
