"""Files: uploads in parts, lists, content (rest-api.md §6)."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import unquote

from flask import Blueprint, Response, request
from werkzeug.wsgi import wrap_file

from engine.errors import BadRequest
from engine.model.times import to_datetime
from engine.ports import Doc, Query
from engine.services.files import Part, media_type
from engine.services.listing import parse_list
from webapp.api.projection import projected
from webapp.current import platform
from webapp.downloads import attachment
from webapp.openapi import COUNT, LIST_PARAMS, OBJECT, TEXT, Param, Schema, operation
from webapp.session import caller

TAG = "Files"
FILE: Schema = {
    "type": "object",
    "properties": {
        "fileId": TEXT,
        "filename": TEXT,
        "contentType": TEXT,
        "length": {"type": "integer"},
        "chunkSize": {"type": "integer"},
        "md5": TEXT,
        "uploadDate": TEXT,
        "metadata": OBJECT,
    },
}
UPLOAD = (
    "A multipart form with the part `file`. Headers: uploader-file-name, uploader-chunk-size (bytes of this part), "
    "uploader-chunk-number (from 1), uploader-chunks-total; from the second part on uploader-file-id. "
    "Without these headers the form holds a whole file. A part sent twice counts once."
)
INCLUDE_SOURCES = Param("includeComponentSourceFiles", "Taken, but no component code is kept among the files.")
FORM_BYTES = 1024 * 1024
"""What a multipart form may hold besides the file."""

routes = Blueprint("files", __name__)


@routes.post("/files")
@operation("Upload a file, or a part of one", tag=TAG, answers={200: FILE}, description=UPLOAD)
def upload() -> Doc:
    request.max_content_length = platform().settings.file_bytes + FORM_BYTES
    given = request.files.get("file")
    if given is None:
        raise BadRequest("the form must have a part named file, with a filename")
    name = request.headers.get("uploader-file-name")
    part = Part(
        name=_header_text(name) if name else given.filename or "file",
        number=_header_number("uploader-chunk-number", 1),
        total=_header_number("uploader-chunks-total", 1),
        size=_header_number("uploader-chunk-size", None),
        content_type=given.mimetype,
        file_id=request.headers.get("uploader-file-id") or None,
    )
    record = platform().file_service.upload(caller().user_id, part, given.stream)
    return record.to_json()


@routes.get("/files")
@operation(
    "List your files",
    tag=TAG,
    query=(*LIST_PARAMS, INCLUDE_SOURCES),
    answers={200: {"type": "array", "items": FILE}},
)
def files() -> list[Doc]:
    found = platform().file_service.find(caller().user_id, _query())
    return projected([record.to_json() for record in found], request.args)


@routes.get("/files/count")
@operation("How many files you have", tag=TAG, query=(*LIST_PARAMS, INCLUDE_SOURCES), answers={200: COUNT})
def count() -> Doc:
    return {"count": platform().file_service.count(caller().user_id, _query())}


@routes.delete("/files")
@operation(
    "Delete all your files that match",
    tag=TAG,
    query=(Param("filter", "`path:value`, as in lists; required.", repeat=True),),
    answers={200: {"type": "object", "properties": {"deletedCount": {"type": "integer"}}}},
)
def delete_many() -> Doc:
    query = _query()
    if not query.where:
        raise BadRequest("filter: must say which files to delete; filter=filename:~. means all")
    return {"deletedCount": platform().file_service.delete_many(caller().user_id, query)}


@routes.get("/files/metadata/<file_id>")
@operation("What is known of a file", tag=TAG, answers={200: FILE})
def info(file_id: str) -> Doc:
    return platform().file_service.info(caller().user_id, file_id).to_json()


@routes.get("/files/<file_id>")
@operation("The content of a file", tag=TAG, answers={200: "application/octet-stream"})
def content(file_id: str) -> Response:
    record, stream = platform().file_service.open(caller().user_id, file_id)
    kind = media_type(record.content_type)
    headers = attachment(record.filename, inline=kind.startswith("image/"))
    response = Response(wrap_file(request.environ, stream), content_type=kind, headers=headers)
    response.call_on_close(stream.close)
    response.direct_passthrough = True
    response.content_length = record.length
    response.last_modified = to_datetime(record.upload_date)
    response.set_etag(record.md5)
    return cast("Response", response.make_conditional(request, accept_ranges=True, complete_length=record.length))


@routes.delete("/files/<file_id>")
@operation("Delete a file", tag=TAG, answers={200: OBJECT})
def delete(file_id: str) -> Doc:
    platform().file_service.delete(caller().user_id, file_id)
    return {"fileId": file_id}


def _query() -> Query:
    return parse_list(request.args, pattern_fields=("filename",), renames={"fileId": "_id"})


def _header_number(name: str, default: Any) -> Any:
    text = request.headers.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal()) or len(text) > 15:
        raise BadRequest(f"{name}: must be a whole number, not {text!r}")
    return int(text)


def _header_text(text: str) -> str:
    """Headers carry one byte a character; browsers send other names in UTF-8 or with percent signs."""
    try:
        text = text.encode("latin-1").decode()
    except UnicodeError:
        pass
    return unquote(text)
