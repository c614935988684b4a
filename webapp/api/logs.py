"""The run log (rest-api.md §7)."""

from __future__ import annotations

from flask import Blueprint, request

from engine.ports import Doc
from engine.services.logs import LogRequest
from webapp.current import platform
from webapp.openapi import OBJECT, Param, Schema, operation
from webapp.session import caller

TAG = "Run log"
PAGE: Schema = {
    "type": "object",
    "properties": {
        "buckets": {"type": "array", "items": OBJECT},
        "hits": {"type": "array", "items": OBJECT},
    },
    "required": ["buckets", "hits"],
}

routes = Blueprint("logs", __name__)


@routes.get("/logs")
@operation(
    "Search the run log of your own and of shared flows",
    tag=TAG,
    query=(
        Param("flowId", "Of these flows only.", repeat=True),
        Param("portType", "in or out.", repeat=True),
        Param("query", "Lucene syntax: words, field:value, ranges, AND, OR, NOT."),
        Param("sort", "`field` or `field:desc`; gridTimestamp:desc when absent.", repeat=True),
        Param("size", "How many at most, 50 when absent.", "integer"),
        Param("from", "How many to leave out first.", "integer"),
        Param("includes", "Fields to return, by comma."),
        Param("excludes", "Fields to leave out, by comma."),
        Param("searchAfter", "The sort values of the last hit, one parameter each.", repeat=True),
        Param("buckets", "false: no histogram, which saves much time when many pages are read."),
    ),
    answers={200: PAGE},
)
def search() -> Doc:
    args = request.args
    page = platform().logs.search(
        caller(),
        LogRequest(
            flow_ids=args.getlist("flowId"),
            port_types=args.getlist("portType"),
            query=args.get("query", ""),
            sort=args.getlist("sort"),
            size=args.get("size", ""),
            offset=args.get("from", ""),
            includes=args.getlist("includes"),
            excludes=args.getlist("excludes") or args.getlist("exclude"),
            search_after=args.getlist("searchAfter") or args.getlist("search_after"),
            buckets=args.get("buckets", "true") != "false",
        ),
    )
    return {"buckets": page.buckets, "hits": page.hits}


@routes.get("/log/<index>/<record_id>")
@routes.get("/log/<flow_id>/<index>/<record_id>")
@operation("One record of the run log", tag=TAG, answers={200: OBJECT})
def record(index: str, record_id: str, flow_id: str | None = None) -> Doc:
    """The flow and the index in the address are those of older clients: the id alone tells the record."""
    found = platform().logs.get(caller(), record_id)
    source = {key: value for key, value in found.items() if key not in ("_id", "_index", "sort")}
    return {"_index": found.get("_index", index), "_type": "_doc", "_id": record_id, "_version": 1, "_source": source}
