"""A flow's run log as rows: newest, older, filtered, and one record in full."""

from __future__ import annotations

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from engine.model.log import LogQuery
from webapp.current import platform
from webapp.pages import log_rows
from webapp.pages.flow_steps import labels_of, lookup_in
from webapp.pages.layout import fragment
from webapp.session import caller

pages = Blueprint("pages_run_log", __name__)

PAGE = 100
FIELDS = {"severity": "severity", "step": "componentId", "execution": "correlationId"}
SPECIAL = set('+-&|!(){}[]^"~*?:\\/<>')


@pages.get("/app/flows/<flow_id>/log")
def newest(flow_id: str) -> ResponseReturnValue:
    """Up to a hundred rows; `before` is the key of the last row shown, for the next page."""
    record = platform().flows.get(flow_id, caller())
    created, _, record_id = request.args.get("before", "").partition("-")
    query = LogQuery(
        query=query_of(request.args),
        flow_ids=(flow_id,),
        sort=(("created", -1),),
        size=PAGE,
        search_after=(int(created), record_id) if created.isdecimal() and record_id else (),
        buckets=False,
    )
    hits = platform().log_index.search(query).hits
    labels = labels_of(record.get("flow") or {}, lookup_in(platform().catalogue))
    return fragment("parts/log_rows.html", flow_id=flow_id, rows=log_rows.rows(hits, labels))


def query_of(fields: dict[str, str]) -> str:
    """The filter form as a query of GET /logs (rest-api.md §7). Each word of the text is a prefix."""
    parts = [f'{field}:"{_plain(fields[name])}"' for name, field in FIELDS.items() if fields.get(name)]
    words = "".join(" " if char in SPECIAL else char for char in fields.get("text", "")).split()
    # lower case, because AND, OR, NOT and TO are operators
    return " AND ".join(parts + [f"{word.lower()}*" for word in words[:20]])


def _plain(value: str) -> str:
    return value.replace("\\", "").replace('"', "")


@pages.get("/app/flows/<flow_id>/log/<record_id>")
def detail(flow_id: str, record_id: str) -> ResponseReturnValue:
    by = caller()
    record = platform().logs.get(by, record_id)
    flow = platform().flows.get(record["flowId"], by)
    labels = labels_of(flow.get("flow") or {}, lookup_in(platform().catalogue))
    return fragment(
        "parts/log_detail.html",
        row=log_rows.row({**record, "_id": record_id}, labels),
        record=record,
        message=log_rows.content(record.get("msg")),
        problem=log_rows.content(record.get("err")),
        inputs=log_rows.content(record.get("inputMessages")),
        raw=record.get("msg") or "",
    )
