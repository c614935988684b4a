"""What the CSV steps have in common: their input, columns by name, rows by number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from connectors.appmixer.utils._kit.csv_line import cell_text
from connectors.appmixer.utils._kit.errors import wrong
from connectors.appmixer.utils._kit.inputs import flag
from connectors.appmixer.utils.csv.table import Row, typed
from engine.sdk import Context


@dataclass(frozen=True, slots=True)
class Step:
    """The input all CSV steps share. A field that was never saved has the value its form offers."""

    content: Mapping[str, Any]
    file_id: str
    delimiter: str
    with_headers: bool
    numbers: bool
    booleans: bool

    def value(self, cell: str) -> Any:
        return typed(cell, numbers=self.numbers, booleans=self.booleans)

    def header(self, rows: Iterator[Row]) -> Row | None:
        """Take the header off the rows, when the file has one."""
        return next(rows, []) if self.with_headers else None

    def row(self, header: Row | None, row: Row) -> Any:
        """A row for a message: by column name, or as a list when there are no names or a list is wanted."""
        values = [self.value(cell) for cell in row]
        if header is None or self.content.get("rowFormat", "object") != "object":
            return values
        return dict(zip(header, values + [""] * (len(header) - len(values)), strict=False))


def step(context: Context) -> Step:
    """Raises StepError when the file is missing or the delimiter is no single character."""
    content = context.messages["in"].content or {}
    return Step(
        content,
        file_id_of(content.get("fileId")),
        delimiter_of(content.get("delimiter")),
        flag(context.properties.get("withHeaders"), default=True),
        flag(content.get("parseNumbers"), default=True),
        flag(content.get("parseBooleans"), default=True),
    )


def file_id_of(value: Any) -> str:
    """The field may hold an id, or the record of a file."""
    if isinstance(value, Mapping):
        value = value.get("fileId")
    if not isinstance(value, str) or not value:
        raise wrong("fileId: choose the CSV file to work with")
    return value


def delimiter_of(value: Any) -> str:
    text = {None: ",", "": ",", "\\t": "\t"}.get(value, value)
    if not isinstance(text, str) or len(text) != 1 or text in '"\r\n':
        raise wrong(f"delimiter: must be one character, such as a comma, not {value!r}")
    return text


def column(header: Row, name: Any) -> int:
    """The position of a column. Raises StepError naming it."""
    if name in header:
        return header.index(name)
    raise wrong(f"there is no column {name!r}; the columns are {', '.join(header) or 'none, the file is empty'}")


def index(value: Any, field: str) -> int:
    """A position counted from 0, given as number or text. Raises StepError naming the field."""
    try:
        number = int(str(value).strip())
    except ValueError:
        number = -1
    if number < 0 or isinstance(value, bool):
        raise wrong(f"{field}: must be a number from 0, not {value!r}")
    return number


class Numbers:
    """A set of positions written as `0,3,6-7`; a range includes its end."""

    def __init__(self, text: Any, field: str) -> None:
        self._ranges: list[tuple[int, int]] = []
        for part in cell_text(text).split(","):
            if part.strip():
                first, dash, last = part.partition("-")
                low = index(first, field)
                self._ranges.append((low, index(last, field) if dash else low))
        if not self._ranges:
            raise wrong(f"{field}: must be positions such as 0,3,6-7, not {text!r}")

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and any(low <= number <= high for low, high in self._ranges)


def arranged(rows: Iterable[Any], header: Row | None) -> list[Row]:
    """Objects in the order of the header, lists as they are. With no header yet, the first object makes it.

    Raises StepError for a row that is neither.
    """
    lines: list[Row] = []
    for row in rows:
        if isinstance(row, Mapping):
            if header is None:
                header = list(row)
                lines.append(header)
            lines.append([cell_text(row.get(name)) for name in header])
        elif isinstance(row, list):
            lines.append([cell_text(cell) for cell in row])
        else:
            raise wrong(f"rows: each row must be an object or a list, not {row!r}")
    return lines


def headings(header: Row | None) -> dict[str, str]:
    """Each column name as its own value: what the creating steps offer as variables."""
    return {name: name for name in header or [] if name}


def put(row: Row, at: int, text: str) -> None:
    """Set a cell; a row that is too short grows."""
    row.extend([""] * (at + 1 - len(row)))
    row[at] = text
