"""The body of a webhook call: read within limits, parsed as its content type says.

JSON and forms arrive parsed, text as text. Other bodies, and the files of multipart forms, become uploads
that the flow's owner keeps. Nothing a sender writes is lost on the way: malformed JSON is delivered as
the text it is.
"""

from __future__ import annotations

import io
import json
import math
import mimetypes
import re
from collections.abc import Iterator
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, Any
from urllib.parse import parse_qs

import orjson
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header

from engine.errors import BadRequest, TooLarge
from engine.services.webhooks import Upload

Environ = dict[str, Any]

FIELDS = 1000
"""Most fields of a query or a form."""

FILES = 50
"""Most files of one call."""

JSON = "application/json"
_PIECE = 64 * 1024
_IN_MEMORY = 512 * 1024
_TEXTS = re.compile(
    r"text/.*|.*[/+](json|xml|yaml)|application/(x-www-form-urlencoded|x-ndjson|ndjson|x-yaml|graphql|javascript|sql)"
)
_CHARSET = re.compile(
    r"utf-?8|utf-?16(le|be)?|(us-)?ascii|latin-?1|iso-8859-\d{1,2}|(windows-|cp)125\d|shift_jis|euc-(jp|kr)|gbk|gb2312"
    r"|gb18030|big5|koi8-[ru]"
)
_DEEP = 100
_LEVELS = 60  # that messages, their scope and records of them put around the data


@dataclass(slots=True)
class Body:
    """`content` is the whole of a small body, or a file from its beginning; `kind` the content type in lower case."""

    kind: str
    content: bytes | IO[bytes]

    def pieces(self) -> Iterator[bytes]:
        """The raw bytes, for a signature."""
        if isinstance(self.content, bytes):
            yield self.content
            return
        while piece := self.content.read(_PIECE):
            yield piece
        self.content.seek(0)

    def raw(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else b"".join(self.pieces())

    @property
    def empty(self) -> bool:
        return isinstance(self.content, bytes) and not self.content


def kind_of(environ: Environ) -> str:
    return str(environ.get("CONTENT_TYPE", "")).partition(";")[0].strip().lower()


def read_body(environ: Environ, limit: int, upload_limit: int, opened: list[IO[bytes]]) -> Body:
    """`upload_limit` bounds what becomes files, `limit` everything else. The caller closes what is `opened`.

    Raises TooLarge, before reading where the length is given; BadRequest for a body that ends too early.
    """
    kind = kind_of(environ)
    upload = kind != JSON and bool(kind) and not _TEXTS.fullmatch(kind)
    most = upload_limit if upload else limit
    length = _length(environ)
    if length is not None and length > most:
        raise TooLarge(f"the body has {length} bytes; a webhook takes at most {most}")
    if length == 0:
        return Body(kind, b"")
    if length is not None and length <= _IN_MEMORY:
        return Body(kind, _exactly(environ, length))
    if upload:
        spool: IO[bytes] = SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - see `opened`
        opened.append(spool)
        _copy(environ, length, most, spool)
        return Body(kind, spool)
    content = _read(environ, most + 1) if length is None else _exactly(environ, length)
    if len(content) > most:
        raise TooLarge(f"the body is larger than the {most} bytes a webhook takes")
    return Body(kind, content)


def _length(environ: Environ) -> int | None:
    """None: it is told by the body itself (chunks). Raises BadRequest."""
    text = environ.get("CONTENT_LENGTH")
    if text:
        if not (text.isascii() and text.isdecimal() and len(text) <= 15):
            raise BadRequest("the header Content-Length must be a number of bytes")
        return int(text)
    chunked = "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower()
    return None if chunked else 0


def _exactly(environ: Environ, length: int) -> bytes:
    content = _read(environ, length)
    if len(content) < length:
        raise BadRequest(f"the body ended after {len(content)} of {length} bytes")
    return content


def _read(environ: Environ, size: int) -> bytes:
    try:
        content: bytes = environ["wsgi.input"].read(size)
    except Exception as error:  # broken chunks, a sender that went away: whatever the server makes of it
        raise BadRequest(f"the body could not be read: {type(error).__name__}") from error
    return content


def _copy(environ: Environ, length: int | None, most: int, spool: IO[bytes]) -> None:
    size = 0
    while piece := _read(environ, _PIECE if length is None else min(_PIECE, length - size)):
        size += len(piece)
        if size > most:
            raise TooLarge(f"the body is larger than the {most} bytes a webhook takes")
        spool.write(piece)
    if length is not None and size < length:
        raise BadRequest(f"the body ended after {size} of {length} bytes")
    spool.seek(0)


def parse(body: Body, environ: Environ, field_limit: int, opened: list[IO[bytes]]) -> tuple[Any, bool]:
    """(data, whether uploads are in it); the caller closes what is `opened`.

    Raises BadRequest for a broken form, TooLarge for one with too many parts.
    """
    if body.empty:
        return {}, False
    kind, content = body.kind, body.content
    if isinstance(content, bytes):
        if kind == JSON or kind.endswith("+json"):
            return json_or_text(content), False
        if not kind:
            return _undeclared(content)
        if kind == "application/x-www-form-urlencoded":
            return parse_query(content.decode("utf-8", "replace"), "form"), False
        if kind != "multipart/form-data" and _TEXTS.fullmatch(kind):
            return _text(content, environ.get("CONTENT_TYPE", "")), False
        content = io.BytesIO(content)
    if kind == "multipart/form-data":
        return _multipart(content, environ.get("CONTENT_TYPE", ""), field_limit, opened), True
    return Upload(_name(environ, kind), kind, content), True


def parse_query(text: str, what: str) -> dict[str, Any]:
    """One value as text, several as a list. Raises BadRequest for too many."""
    try:
        found = parse_qs(text, keep_blank_values=True, max_num_fields=FIELDS)
    except ValueError as error:
        raise BadRequest(f"the {what} has more than {FIELDS} fields") from error
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def json_or_text(content: bytes) -> Any:
    """Malformed JSON, and JSON that could not be handed on, is the text it is."""
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        return _lenient(content)
    if content.count(b"[") + content.count(b"{") > _DEEP and not _can_be_stored(value):
        return content.decode("utf-8", "replace")
    return value


def _lenient(content: bytes) -> Any:
    """What orjson refuses and others write: NaN, numbers without end, a byte order mark."""
    text = content.decode("utf-8-sig", "replace")
    try:
        value = json.loads(text, parse_constant=str, parse_float=_finite)
    except (ValueError, RecursionError):
        return text
    return value if _can_be_stored(value) else text


def _finite(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


def _can_be_stored(value: Any) -> bool:
    for _ in range(_LEVELS):
        value = [value]
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


def _undeclared(content: bytes) -> tuple[Any, bool]:
    try:
        content.decode()
    except UnicodeDecodeError:
        return Upload("body.bin", "application/octet-stream", io.BytesIO(content)), True
    return json_or_text(content), False


def _text(content: bytes, content_type: str) -> str:
    charset = parse_options_header(content_type)[1].get("charset", "utf-8").lower()
    return content.decode(charset if _CHARSET.fullmatch(charset) else "utf-8", "replace")


def _multipart(content: IO[bytes], content_type: str, field_limit: int, opened: list[IO[bytes]]) -> dict[str, Any]:
    def stream(*_: Any, **__: Any) -> IO[bytes]:
        made: IO[bytes] = SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - see `opened`
        opened.append(made)
        return made

    options = parse_options_header(content_type)[1]
    parser = FormDataParser(stream, max_form_memory_size=field_limit, max_form_parts=FIELDS, silent=False)
    try:
        _, fields, files = parser.parse(content, "multipart/form-data", None, options)
    except RequestEntityTooLarge as error:
        raise TooLarge(
            f"the form is too large: it may have {FIELDS} parts, and {field_limit} bytes outside of files"
        ) from error
    except (ValueError, LookupError) as error:
        raise BadRequest(f"the body is not the multipart form it says to be: {error}") from error
    data: dict[str, Any] = {}
    for name, texts in fields.lists():
        data[str(name)] = texts[0] if len(texts) == 1 else texts
    if sum(len(found) for _, found in files.lists()) > FILES:
        raise TooLarge(f"the form has more than {FILES} files")
    for name, found in files.lists():
        uploads = [_upload(file) for file in found]
        data[str(name)] = uploads[0] if len(uploads) == 1 else uploads
    return data


def _upload(file: FileStorage) -> Upload:
    return Upload(file.filename or "file", file.mimetype or "application/octet-stream", file.stream)


def _name(environ: Environ, kind: str) -> str:
    """As the sender names the file, else by its type."""
    given = parse_options_header(environ.get("HTTP_CONTENT_DISPOSITION", ""))[1].get("filename")
    return given or f"body{mimetypes.guess_extension(kind) or '.bin'}"
