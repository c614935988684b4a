"""A flow's own page: start and stop, its name, its steps, and sending it something."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import parse_qs

import orjson
from flask import Blueprint, Response, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from engine.errors import BadRequest, HeadraceError
from engine.model.log import LogQuery
from engine.ports import Doc
from engine.rules.acl import Caller
from engine.services.webhooks import WebhookRequest
from webapp.current import platform
from webapp.pages import log_rows
from webapp.pages.flow_steps import labels_of, lookup_in, steps_of
from webapp.pages.flows import row
from webapp.pages.layout import fragment, note, tell
from webapp.session import caller
from webapp.webhook_body import json_or_text

pages = Blueprint("pages_flow", __name__)

METHODS = ("POST", "GET", "PUT", "DELETE")
LONGEST_ANSWER = 200_000


@pages.get("/app/flows/<flow_id>")
def show(flow_id: str) -> ResponseReturnValue:
    by = caller()
    record = platform().flows.get(flow_id, by)
    now = platform().clock.now()
    newest = platform().log_index.search(LogQuery(flow_ids=(flow_id,), size=100, buckets=False)).hits
    steps = steps_of(record.get("flow") or {}, lookup_in(platform().catalogue))
    return render_template(
        "pages/flow.html",
        **_head(record, by),
        flow_id=flow_id,
        steps=steps,
        targets=_targets(steps),
        methods=METHODS,
        hook_base=_hook_base(flow_id),
        rows=log_rows.rows(newest, labels_of(record.get("flow") or {}, lookup_in(platform().catalogue))),
        since=now,
        active="flows",
    )


def _head(record: Doc, by: Caller) -> dict[str, Any]:
    return {"flow": row(record, by)}


def _hook_base(flow_id: str) -> str:
    base = platform().settings.url.rstrip("/") or request.host_url.rstrip("/")
    return f"{base}/flows/{flow_id}/components/"


def _targets(steps: list[dict[str, Any]]) -> list[dict[str, str]]:
    """What the form can send to: webhooks first, then every in port."""
    hooks = [{"value": f"webhook:{s['id']}", "label": s["label"], "group": "Webhooks"} for s in steps if s["webhook"]]
    ports = [
        {"value": f"port:{s['id']}:{port}", "label": f"{s['label']} · {port}", "group": "Inputs of steps"}
        for s in steps
        for port in s["ports"]
    ]
    return hooks + ports


@pages.get("/app/flows/<flow_id>/head")
def head(flow_id: str) -> ResponseReturnValue:
    by = caller()
    return fragment("parts/flow_head.html", **_head(platform().flows.get(flow_id, by), by))


@pages.post("/app/flows/<flow_id>/<any(start, stop):verb>")
def start_or_stop(flow_id: str, verb: str) -> ResponseReturnValue:
    """On the flow's page its head comes back, with what kept it from starting; in the list, a toast."""
    by = caller()
    record = platform().flows.get(flow_id, by, verb)
    lifecycle = platform().lifecycle
    problem = None
    try:
        lifecycle.start(flow_id) if verb == "start" else lifecycle.stop(flow_id)
    except HeadraceError as error:
        problem = error
    events: dict[str, Any] = {} if problem else {"flows-changed": {}}
    if "flow-head" not in request.headers.get("HX-Target", ""):
        text = f"“{record.get('name')}” could not {verb}: {problem.message}" if problem else ""
        return tell(Response(status=204), note(text, "error") if problem else events)
    head = _head(platform().flows.get(flow_id, by), by)
    return fragment("parts/flow_started.html", events=events, problem=problem, **head)


@pages.put("/app/flows/<flow_id>/name")
def rename(flow_id: str) -> ResponseReturnValue:
    by = caller()
    name = request.form.get("name", "").strip()
    if not name:
        raise BadRequest("a flow needs a name")
    record = platform().flows.save(flow_id, {"name": name[:1000]}, by)
    return fragment("parts/flow_head.html", events=note("Renamed."), **_head(record, by))


@pages.post("/app/flows/<flow_id>/send")
def send(flow_id: str) -> ResponseReturnValue:
    """Send to a webhook as its caller would, or put a message on an in port; the answer comes back."""
    by = caller()
    platform().flows.get(flow_id, by, "start")
    began = time.perf_counter()
    context: dict[str, Any] = {"problem": None, "reply": None}
    try:
        context |= _send(flow_id, request.form)
    except HeadraceError as error:
        context["problem"] = error
    context["milliseconds"] = round((time.perf_counter() - began) * 1000, 1)
    return fragment("parts/answer.html", **context)


def _send(flow_id: str, form: MultiDict[str, str]) -> dict[str, Any]:
    kind, _, target = form.get("target", "").partition(":")
    body = form.get("body", "")
    if kind == "port":
        cid, _, port = target.partition(":")
        try:
            content = orjson.loads(body or "{}")
        except orjson.JSONDecodeError as error:
            raise BadRequest(f"The message must be JSON: {error}.") from error
        platform().webhooks.inject(flow_id, cid, port, content)
        return {"delivered": port}
    if kind != "webhook":
        raise BadRequest("Choose what to send to.")
    answered = platform().webhooks.accept(flow_id, target, _webhook_request(form, body))
    reply = answered.reply
    value = reply.body.decode("utf-8", "replace") if isinstance(reply.body, bytes) else reply.body
    value = log_rows.content(value)
    if isinstance(value, str) and len(value) > LONGEST_ANSWER:
        value = value[:LONGEST_ANSWER] + "…"
    return {"reply": reply, "body": value, "execution": answered.correlation_id}


def _webhook_request(form: MultiDict[str, str], body: str) -> WebhookRequest:
    """Malformed JSON arrives as text, as it does from outside (rest-api.md §3)."""
    method = form.get("method", "POST")
    if method not in METHODS:
        raise BadRequest(f"The method must be one of {', '.join(METHODS)}.")
    data = json_or_text(body.encode()) if body else {}
    kind = "text/plain" if isinstance(data, str) and not body.lstrip().startswith('"') else "application/json"
    query = {key: values if len(values) > 1 else values[0] for key, values in _query(form).items()}
    headers = {"host": request.host, "content-type": kind, "user-agent": "Headrace test event"}
    return WebhookRequest(
        method=method, hostname=request.host.partition(":")[0], headers=headers, query=query, data=data
    )


def _query(form: MultiDict[str, str]) -> dict[str, list[str]]:
    return parse_qs(form.get("query", "").lstrip("?"), keep_blank_values=True)
