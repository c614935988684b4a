from __future__ import annotations

from mimetypes import guess_type
from pathlib import PurePosixPath

from connectors.appmixer.utils.ftp.remote import not_found, path_of, server_of
from engine.sdk import Component, Context, StepError


class DownloadFile(Component):
    effects = "external"

    def receive(self, context: Context) -> None:
        path = path_of(context)
        with server_of(context) as server:
            try:
                chunks = server.download(path)
            except StepError as error:
                not_found(context, path, error)
                return
            name = PurePosixPath(path).name or "download"
            record = context.save_file(name, chunks, guess_type(name)[0])
        context.send(
            {"fileId": record.file_id, "filename": record.filename, "md5": record.md5, "length": record.length}, "out"
        )
