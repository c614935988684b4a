from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import orjson

from connectors.appmixer.utils._kit.csv_line import cell_text, line_of
from connectors.appmixer.utils._kit.inputs import flag
from engine.sdk import Component, Context, StepError

PAGE = 1_000
SAMPLE = 10
"""Entries looked at to find the columns of spread values (utils-components.md, SaveToFile)."""

SORTS = ("key", "createdAt", "updatedAt")


class SaveToFile(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        given = context.messages["in"].content
        sort, kind = given.get("sortBy") or "key", given.get("fileType") or "csv"
        if sort not in SORTS or kind not in ("csv", "json"):
            raise StepError(
                f"sortBy must be one of {', '.join(SORTS)}, not {sort!r}, and fileType csv or json, not {kind!r}",
                retryable=False,
            )
        entries = _Counted(_entries(context, given["storeId"], sort))
        if kind == "json":
            content, media = _json(entries), "application/json"
        else:
            content, media = _csv(entries, flatten=flag(given.get("flattenValue"), default=True)), "text/csv"
        record = context.save_file(given.get("fileName") or "new File", content, media)
        context.send({"fileId": record.file_id, "nRecords": entries.count}, "out")


class _Counted:
    """Counts what passes."""

    def __init__(self, entries: Iterator[dict[str, Any]]) -> None:
        self._entries = entries
        self.count = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        entry = next(self._entries)
        self.count += 1
        return entry


def _entries(context: Context, store_id: str, sort: str) -> Iterator[dict[str, Any]]:
    offset = 0
    while page := context.stores.find(store_id, sort=f"{sort}:1", limit=PAGE, offset=offset):
        yield from page
        offset += len(page)


def _json(entries: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    yield b"["
    for number, entry in enumerate(entries):
        yield (b"," if number else b"") + b"\n" + orjson.dumps({"key": entry["key"], "value": entry["value"]})
    yield b"\n]\n"


def _csv(entries: Iterator[dict[str, Any]], *, flatten: bool) -> Iterator[bytes]:
    """With `flatten`, a value that is an object gets a column for each of its fields, `value.a.b`."""
    sample = list(islice(entries, SAMPLE))
    columns = ["key", "value"]
    if flatten:
        columns = list(dict.fromkeys(["key", *(name for entry in sample for name in _spread(entry["value"]))]))
    yield _line(columns)
    for part in (sample, entries):
        for entry in part:
            cells = _spread(entry["value"]) if flatten else {"value": entry["value"]}
            cells["key"] = entry["key"]
            yield _line([cell_text(cells.get(name)) for name in columns])


def _spread(value: Any, name: str = "value") -> dict[str, Any]:
    if name == "value" and isinstance(value, str):
        value = _parsed(value)
    if not isinstance(value, Mapping) or not value:
        return {name: value}
    return {path: cell for key, part in value.items() for path, cell in _spread(part, f"{name}.{key}").items()}


def _parsed(text: str) -> Any:
    """The object in a JSON text; any other text stays as it is written."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return value if isinstance(value, dict) else text


def _line(cells: list[str]) -> bytes:
    return (line_of(cells, ",") + "\n").encode()
