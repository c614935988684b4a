from __future__ import annotations

from connectors.appmixer.utils._kit.errors import wrong
from connectors.appmixer.utils._kit.urls import is_web_address, with_query
from connectors.appmixer.utils.http.body import given_body, query_of
from connectors.appmixer.utils.http.message import headers_of, send
from engine.sdk import Component, Context


class Get(Component):
    effects = "external"

    def receive(self, context: Context) -> None:
        given = context.messages["in"].content
        if not is_web_address(given["url"]):
            raise wrong(f"url: must be an http or https address, not {given['url']!r}")
        url = with_query(given["url"], query_of(given_body(given)))
        encoding = given.get("responseEncoding", "utf8")
        context.send(send(context, "GET", url, headers_of(given.get("headers")), None, encoding), "response")
