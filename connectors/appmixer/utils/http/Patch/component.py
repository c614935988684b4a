from __future__ import annotations

from connectors.appmixer.utils.http.body import given_body, raw
from connectors.appmixer.utils.http.message import headers_of, send
from engine.sdk import Component, Context


class Patch(Component):
    effects = "external"

    def receive(self, context: Context) -> None:
        given = context.messages["in"].content
        body, headers = raw(given_body(given), headers_of(given.get("headers")))
        encoding = given.get("responseEncoding", "utf8")
        context.send(send(context, "PATCH", given["url"], headers, body, encoding), "response")
