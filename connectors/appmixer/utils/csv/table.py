"""CSV files as rows of text cells: read, appended to, rewritten; always under the lock of the file.

Rules: spec/utils-components.md, "csv". A row is a list of trimmed texts; blank lines are no rows.
Cells that nobody changes are written back as they were read, quoted where they need it.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from charset_normalizer import from_bytes

from connectors.appmixer.utils._kit.convert import is_decimal
from connectors.appmixer.utils._kit.csv_line import line_of
from connectors.appmixer.utils._kit.errors import wrong
from engine.sdk import Context

Row = list[str]

CHUNK = 64 * 1024
LOCK_MS = 60_000
ROWS_PER_EXTENSION = 1_000
EXACT = 2**53  # beyond it JSON numbers lose digits, so such a cell stays text

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))

csv.field_size_limit(64 * 1024 * 1024)


@dataclass(frozen=True, slots=True)
class Shape:
    """How a file is written. `ended`: empty, or its last line has a line end."""

    encoding: str
    bom: bytes
    newline: str
    ended: bool


def locked(context: Context, file_id: str) -> AbstractContextManager[Callable[[int], None]]:
    """One step at a time reads or changes a file; the others wait up to a minute."""
    return context.lock(f"csv:{file_id}", ttl=LOCK_MS, retry_delay=200, max_retry_count=300)


@contextmanager
def reading(context: Context, file_id: str, delimiter: str) -> Iterator[Iterator[Row]]:
    """The rows of a file, the header among them, with the file's lock held."""
    with (
        locked(context, file_id) as extend,
        closing(_rows(context, file_id, delimiter, shape(context, file_id), extend)) as rows,
    ):
        yield rows


def rewrite(context: Context, file_id: str, delimiter: str, change: Callable[[Iterator[Row]], Iterable[Row]]) -> None:
    """Replace the file's content by `change(rows)`. UTF-16 and a byte order mark stay; all else becomes UTF-8.

    `change` is not called when the message was delivered before and has changed the file already.
    """
    with locked(context, file_id) as extend:
        read = context.file_info(file_id).md5  # before the content: a change in between is noticed as well
        found = shape(context, file_id)
        encoding = found.encoding if found.encoding.startswith("utf-16") else "utf-8"
        with closing(_rows(context, file_id, delimiter, found, extend)) as rows:
            lines = (line_of(row, delimiter) + found.newline for row in change(rows))
            context.replace_file(file_id, _encoded(lines, encoding, found.bom), expect=read)


def append(context: Context, file_id: str, delimiter: str, build: Callable[[Row | None], list[Row]]) -> None:
    """Add the rows `build(header or None)` to the end; what is there already is not touched."""
    with locked(context, file_id) as extend:
        read = context.file_info(file_id).md5
        found = shape(context, file_id)
        with closing(_rows(context, file_id, delimiter, found, extend)) as rows:
            header = next(rows, None)
        text = "".join(line_of(row, delimiter) + found.newline for row in build(header))
        if text and not found.ended:
            text = found.newline + text
        try:
            context.append_file(file_id, text.encode(found.encoding), expect=read)
        except UnicodeEncodeError:
            parts = _text(context, file_id, found)
            context.replace_file(file_id, _encoded([*parts, text], "utf-8", b""), expect=read)


def parse_text(text: str, delimiter: str) -> list[Row]:
    """The rows of a text that is no file yet."""
    return list(_parse(io.StringIO(text, newline=""), delimiter))


def read_text(context: Context, file_id: str) -> str:
    """The whole text of a file, without a byte order mark."""
    with locked(context, file_id):
        return "".join(_text(context, file_id, shape(context, file_id)))


def typed(cell: str, *, numbers: bool, booleans: bool) -> Any:
    """The cell as number or boolean when it looks like one and that is wanted."""
    if booleans and cell in ("true", "false"):
        return cell == "true"
    if numbers and is_decimal(cell):
        value = float(cell)
        if abs(value) < EXACT:
            return int(value) if value.is_integer() else value
    return cell


def shape(context: Context, file_id: str) -> Shape:
    """Look through a file: UTF-8 if all of it is, else its byte order mark or its look tell the encoding."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    head, tail, bom, encoding = b"", b"", b"", ""
    with context.open_file(file_id) as file:
        while chunk := file.read(CHUNK):
            if not head:
                head = chunk
                bom, encoding = next(((b, name) for b, name in _BOMS if chunk.startswith(b)), (b"", ""))
            tail = (tail + chunk)[-4:]
            if not encoding:
                encoding = _guess_when_broken(decoder, chunk)
    encoding = encoding or _guess_when_broken(decoder, b"") or "utf-8"
    start = head[len(bom) :].decode(encoding, "ignore")
    newline = "\r\n" if "\r\n" in start else "\n"
    ended = len(tail) <= len(bom) or tail.decode(encoding, "ignore").endswith(("\n", "\r"))
    return Shape(encoding, bom, newline, ended)


def _guess_when_broken(decoder: codecs.IncrementalDecoder, chunk: bytes) -> str:
    try:
        decoder.decode(chunk, final=not chunk)
    except UnicodeDecodeError:
        best = from_bytes(chunk).best() if chunk else None
        return best.encoding if best is not None else "cp1252"
    return ""


def _open(context: Context, file_id: str, found: Shape) -> io.TextIOWrapper:
    file = context.open_file(file_id)
    file.read(len(found.bom))
    return io.TextIOWrapper(cast(BinaryIO, file), found.encoding, errors="replace", newline="")


def _text(context: Context, file_id: str, found: Shape) -> Iterator[str]:
    with _open(context, file_id, found) as file:
        while part := file.read(CHUNK):
            yield part


def _rows(
    context: Context, file_id: str, delimiter: str, found: Shape, extend: Callable[[int], None]
) -> Generator[Row]:
    with _open(context, file_id, found) as file:
        for number, row in enumerate(_parse(file, delimiter)):
            if number % ROWS_PER_EXTENSION == ROWS_PER_EXTENSION - 1:
                extend(LOCK_MS)
            yield row


def _parse(lines: Iterable[str], delimiter: str) -> Iterator[Row]:
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=delimiter != " ")
    try:
        for row in reader:
            if row:
                yield [cell.strip() for cell in row]
    except csv.Error as error:
        raise wrong(f"line {reader.line_num} is not CSV: {error}") from error


def _encoded(texts: Iterable[str], encoding: str, bom: bytes) -> Iterator[bytes]:
    """The text in blocks of a good size."""
    buffer = bytearray(bom)
    for text in texts:
        buffer += text.encode(encoding)
        if len(buffer) >= CHUNK:
            yield bytes(buffer)
            buffer.clear()
    yield bytes(buffer)
