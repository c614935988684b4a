"""What DELETE and PATCH have in common."""

from __future__ import annotations

from typing import ClassVar

from connectors.appmixer.utils.http.body import given_body, raw
from connectors.appmixer.utils.http.message import headers_of, send
from engine.sdk import Component, Context


class Plain(Component):
    """Sends the body as it is given."""

    effects = "external"
    method: ClassVar[str]

    def receive(self, context: Context) -> None:
        given = context.messages["in"].content
        body, headers = raw(given_body(given), headers_of(given.get("headers")))
        encoding = given.get("responseEncoding", "utf8")
        context.send(send(context, self.method, given["url"], headers, body, encoding), "response")
