from __future__ import annotations

from connectors.appmixer.utils._kit.errors import wrong
from connectors.appmixer.utils.ftp.remote import path_of, server_of
from engine.sdk import Component, Context, StepError


class UploadFile(Component):
    effects = "external"

    def receive(self, context: Context) -> None:
        file_id, path = context.messages["in"].content.get("fileId"), path_of(context)
        if not file_id:
            raise wrong("fileId: choose the file to upload")
        with context.open_file(file_id) as file, server_of(context) as server:
            try:
                server.upload(path, file)
            except StepError as error:
                if error.code != "553":
                    raise
                hint = "the path must name a file, its folder must exist and the account must be allowed to write there"
                raise StepError(
                    f"cannot write {path}: {hint} ({error.message})", code="553", retryable=False
                ) from error
        context.send({"fileId": file_id}, "out")
