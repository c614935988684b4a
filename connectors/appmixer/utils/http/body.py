"""Bodies of requests: text or JSON, a file, or a form whose files are streamed."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any
from urllib.parse import parse_qsl

import orjson

from connectors.appmixer.utils._kit.convert import script_text
from connectors.appmixer.utils._kit.errors import wrong
from connectors.appmixer.utils._kit.inputs import base64_bytes, entries, flag
from connectors.appmixer.utils._kit.urls import form_encoded
from connectors.appmixer.utils.http.message import Headers, header, with_defaults
from engine.sdk import Context

CHUNK = 64 * 1024
FORM = "application/x-www-form-urlencoded"
FIELD_TYPES = ("number", "text", "date-time", "toggle", "filepicker")

Body = tuple[bytes | IO[bytes] | None, Headers]


def given_body(content: Mapping[str, Any]) -> Any:
    """The field `body`, decoded from base64 to bytes when that is wanted. Raises StepError."""
    body = content.get("body")
    if not isinstance(body, str) or not flag(content.get("bodyBase64Encode"), default=False):
        return body
    try:
        return base64_bytes(body)
    except ValueError as error:
        raise wrong(f"body: is not base64, though bodyBase64Encode is on: {error}") from error


def raw(body: Any, headers: Headers) -> Body:
    """A body as it is sent, and the headers with its content type if they name none."""
    if body is None or body == "":
        return None, headers
    if isinstance(body, bytes):
        return body, with_defaults(headers, {"content-type": "application/octet-stream"})
    value = json_or_none(body) if isinstance(body, str) else body
    if (header(headers, "content-type") or "").lower().startswith(FORM) and isinstance(value, Mapping):
        return form_encoded(value).encode(), headers
    kind = "text/plain; charset=utf-8" if value is None else "application/json"
    # JSON text goes out as it came: numbers keep all their digits
    sent = body.encode() if isinstance(body, str) else orjson.dumps(body)
    return sent, with_defaults(headers, {"content-type": kind})


def query_of(body: Any) -> Mapping[str, Any]:
    """A body as query parameters: an object, its JSON text, or a query string. Raises StepError."""
    if isinstance(body, bytes):
        body = body.decode("utf-8", "replace")
    value = json_or_none(body) if isinstance(body, str) else body
    if value is None:
        value = dict(parse_qsl(body, keep_blank_values=True)) if isinstance(body, str) and "=" in body else body or {}
    if not isinstance(value, Mapping):
        raise wrong(f"body: must be a JSON object of query parameters, not {value!r}")
    return value


def json_or_none(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


@contextmanager
def opened(context: Context, content: Mapping[str, Any], headers: Headers) -> Iterator[Body]:
    """The body `bodyType` asks for: raw (default), binary (the file `fileId`) or form-data."""
    kind = content.get("bodyType") or "raw"
    if kind == "binary":
        file_id = content.get("fileId")
        if not isinstance(file_id, str) or not file_id:
            raise wrong("fileId: choose the file to send, or another kind of body")
        own = {"content-length": str(context.file_info(file_id).length)}
        kept = with_defaults(_without(headers, *own), {"content-type": "application/octet-stream"})
        with context.open_file(file_id) as file:
            yield file, {**kept, **own}
    elif kind == "form-data":
        form = _Form(context, entries(content.get("bodyFormData"), "ADD"))
        # only we know the boundary and the length
        yield io.BufferedReader(form, CHUNK), {**_without(headers, *form.headers), **form.headers}
    elif kind == "raw":
        yield raw(given_body(content), headers)
    else:
        raise wrong(f"bodyType: must be raw, form-data or binary, not {kind!r}")


def _without(headers: Headers, *names: str) -> Headers:
    return {name: text for name, text in headers.items() if name.lower() not in names}


class _Form(io.RawIOBase):
    """A multipart/form-data body (RFC 7578), read piece by piece; files are opened one at a time."""

    def __init__(self, context: Context, rows: list[Mapping[str, Any]]) -> None:
        self._context = context
        self._boundary = f"headrace-{context.uuid()}"
        self._fields = [self._field(row) for row in rows if row.get("type") in FIELD_TYPES]
        self._end = f"--{self._boundary}--\r\n".encode()
        length = len(self._end) + sum(len(head) + size + 2 for head, _, size in self._fields)
        self.headers = {
            "content-type": f"multipart/form-data; boundary={self._boundary}",
            "content-length": str(length),
        }
        self._pieces = self._read()
        self._rest = b""

    def _field(self, row: Mapping[str, Any]) -> tuple[bytes, str | bytes, int]:
        """The head of a part, its content (text as bytes, a file by its id) and the content's size."""
        value = row.get(row["type"])
        disposition = f'form-data; name="{_quoted(script_text(row.get("name", "")))}"'
        if row["type"] != "filepicker":
            text = (script_text(value) if value is not None else "").encode()
            return self._head(disposition), text, len(text)
        if not isinstance(value, str) or not value:
            raise wrong(f"bodyFormData: choose the file for the field {row.get('name')!r}")
        record = self._context.file_info(value)
        disposition += f'; filename="{_quoted(record.filename)}"'
        return self._head(disposition, record.content_type), value, record.length

    def _head(self, disposition: str, content_type: str | None = None) -> bytes:
        kind = f"Content-Type: {content_type}\r\n" if content_type and content_type.isprintable() else ""
        return f"--{self._boundary}\r\nContent-Disposition: {disposition}\r\n{kind}\r\n".encode()

    def _read(self) -> Iterator[bytes]:
        for head, content, _ in self._fields:
            yield head
            if isinstance(content, bytes):
                yield content
            else:
                with self._context.open_file(content) as file:
                    while chunk := file.read(CHUNK):
                        yield chunk
            yield b"\r\n"
        yield self._end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def _quoted(text: str) -> str:
    """A name within quotes, as browsers write it (HTML standard, multipart form data)."""
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
