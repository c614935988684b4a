"""Transform of the component's output: the columns of a CSV file as variables of an out port."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def outputHeaders(columns: Mapping[str, str]) -> list[dict[str, Any]]:
    """{name: name} → the file's id, then one option for each column."""
    file_id = {"label": "File ID", "value": "fileId", "schema": {"type": "string", "format": "appmixer-file-id"}}
    return [file_id, *({"label": name, "value": name} for name in columns)]
