from __future__ import annotations

from typing import Any

from connectors.appmixer.utils._kit.errors import wrong
from connectors.appmixer.utils.http.body import raw
from connectors.appmixer.utils.http.expressions import Reply, fill_json, fill_text
from connectors.appmixer.utils.http.hook import deliver
from connectors.appmixer.utils.http.message import headers_of, send
from engine.sdk import Component, Context

METHODS = ("post", "put", "get", "patch", "delete")
REPLY = "startReply"
NOTHING: Reply = {"body": None, "headers": {}}


class DynamicWebhook(Component):
    effects = "none"

    def start(self, context: Context) -> None:
        """Subscribe; the answer is kept for `stop`. Raises StepError, so the flow does not start."""
        context.state.set(REPLY, _call(context, "onStart", "post", NOTHING))

    def stop(self, context: Context) -> None:
        """Unsubscribe, where there is an address for it."""
        if context.properties.get("onStopRequestUrl"):
            _call(context, "onStop", "delete", context.state.get(REPLY) or NOTHING)

    def receive(self, context: Context) -> None:
        deliver(context, "request")


def _call(context: Context, when: str, default_method: str, reply: Reply) -> Reply:
    url = fill_text(context.properties.get(f"{when}RequestUrl") or "", reply)
    method = str(context.properties.get(f"{when}RequestMethod") or default_method).lower()
    if method not in METHODS:
        raise wrong(f"{when}RequestMethod: must be one of {', '.join(METHODS)}, not {method!r}")
    headers = headers_of(_json(context, f"{when}RequestHeaders", reply))
    body = _json(context, f"{when}RequestBody", reply)
    sent, headers = (None, headers) if method == "get" else raw(body, headers)
    answer = send(context, method.upper(), url, headers, sent, "utf8")
    names = {name: value for name, value in answer["headers"].items() if isinstance(value, str)}
    return {"body": answer["body"], "headers": names}


def _json(context: Context, name: str, reply: Reply) -> Any:
    try:
        return fill_json(context.properties.get(name) or "", reply)
    except ValueError as error:
        raise wrong(f"{name}: must be JSON, such as {{}}: {error}") from error
