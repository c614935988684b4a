from __future__ import annotations

from email.message import Message
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from connectors.appmixer.utils._kit.urls import is_web_address
from engine.sdk import CancelError, Component, Context, HttpResponse, StepError


class DownloadFile(Component):
    effects = "external"

    def receive(self, context: Context) -> None:
        given = context.messages["in"].content
        link = _checked(given["link"])
        with context.http.stream("GET", link) as (answer, chunks):
            if not 200 <= answer.status < 300:
                raise StepError(f"{link} answered {answer.status}", code=str(answer.status))
            name = given.get("customFileName") or _name(answer, link)
            media = answer.headers.get("content-type") or "application/octet-stream"
            record = context.save_file(name, chunks, media)
        context.send({"fileId": record.file_id, "filename": record.filename, "contentType": media}, "out")


def _checked(link: str) -> str:
    if not is_web_address(link):
        raise CancelError(f"link: must be an http or https address, not {link!r}")
    return link


def _name(answer: HttpResponse, link: str) -> str:
    """The name the server gives (RFC 6266), else the last part of the address."""
    header = Message()
    header["content-disposition"] = answer.headers.get("content-disposition", "")
    given = header.get_filename() or unquote(urlsplit(link).path)
    return PurePosixPath(given.replace("\\", "/")).name or "download"
