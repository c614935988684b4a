"""GET /app/stream: the door to the live news of `webapp.stream`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, Flask, Response, current_app, request

from engine.errors import BadRequest, NotFound
from engine.ports import Doc
from engine.rules.acl import Caller
from webapp.current import platform
from webapp.pages import log_rows
from webapp.pages.flow_steps import labels_of, lookup_in
from webapp.session import caller
from webapp.stream import StreamHub

if TYPE_CHECKING:
    from engine.wiring import Platform

pages = Blueprint("pages_live", __name__)

HUB = "headrace streams"
KINDS = ("log", "flow")
MOST_TOPICS = 200


def register(app: Flask, here: Platform) -> None:
    """A stream holds a thread of the server: at most half of them may go to streams."""
    app.extensions[HUB] = StreamHub(
        cache=here.cache,
        log_index=here.log_index,
        clock=here.clock,
        limit=min(here.settings.streams, max(1, here.settings.web_threads // 2)),
        render=lambda flow_id, records: _render(app, here, flow_id, records),
    )


def _render(app: Flask, here: Platform, flow_id: str, records: list[Doc]) -> str:
    """In the reading thread there is no request, so the template must not need one."""
    flow = (here.documents.get("flows", flow_id) or {}).get("flow") or {}
    rows = log_rows.rows(records, labels_of(flow, lookup_in(here.catalogue)))
    return app.jinja_env.get_template("parts/log_rows.html").render(flow_id=flow_id, rows=rows)


@pages.get("/app/stream")
def stream() -> Response:
    hub: StreamHub = current_app.extensions[HUB]
    topics = _readable(read_topics(request.args.get("topics", "")), caller())
    last = request.headers.get("Last-Event-ID", "")
    opened = hub.open(topics, int(last) if last.isdecimal() and len(last) < 16 else None)
    response = Response(hub.events(opened), mimetype="text/event-stream")
    response.headers.update({"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
    response.call_on_close(lambda: hub.leave(opened))
    return response


def _readable(topics: frozenset[str], by: Caller) -> frozenset[str]:
    """Without those of flows that are gone, as on a list somebody else just deleted from. Raises NotFound for none."""
    readable = set()
    problem: NotFound | None = None
    for flow_id in {topic.partition(":")[2] for topic in topics}:
        try:
            platform().flows.get(flow_id, by)
        except NotFound as error:
            problem = error
        else:
            readable.add(flow_id)
    if problem is not None and not readable:
        raise problem
    return frozenset(topic for topic in topics if topic.partition(":")[2] in readable)


def read_topics(text: str) -> frozenset[str]:
    """`log:<flowId>,flow:<flowId>`. Raises BadRequest naming the topic."""
    topics = frozenset(part for part in text.split(",") if part)
    for topic in topics:
        kind, _, flow_id = topic.partition(":")
        if kind not in KINDS or not flow_id:
            raise BadRequest(f"topics: {topic!r} is none; use log:<flowId> or flow:<flowId>")
    if not 1 <= len(topics) <= MOST_TOPICS:
        raise BadRequest(f"topics: name 1 to {MOST_TOPICS}, not {len(topics)}")
    return topics
