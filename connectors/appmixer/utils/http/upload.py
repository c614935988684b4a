"""What POST and PUT have in common."""

from __future__ import annotations

from typing import ClassVar

from connectors.appmixer.utils.http.body import opened
from connectors.appmixer.utils.http.message import headers_of, send
from engine.sdk import CancelError, Component, Context, StepError


class Upload(Component):
    effects = "external"
    method: ClassVar[str]

    def receive(self, context: Context) -> None:
        given = context.messages["in"].content
        try:
            own = headers_of(given.get("headers"))
        except StepError as error:
            raise CancelError(error.message) from error
        encoding = given.get("responseEncoding", "utf8")
        with opened(context, given, own) as (body, headers):
            context.send(send(context, self.method, given["url"], headers, body, encoding), "response")
