"""The list of flows: search, sort, page, import, export, delete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, render_template, request
from flask.typing import ResponseReturnValue

from engine.errors import HeadraceError
from engine.model.times import iso
from engine.ports import Doc, Query, Where
from engine.rules.acl import Caller, permissions
from engine.services import flow_files
from webapp.current import platform
from webapp.pages.layout import fragment, is_fragment, note, tell
from webapp.session import caller

pages = Blueprint("pages_flows", __name__)

PAGE = 25
SORTS = {"mtime:-1": "Last changed", "name:1": "Name", "btime:-1": "Newest", "started:-1": "Last started"}
STAGES = {"running": ["running", "starting"], "stopped": ["stopped", "stopping"]}
FIELDS = ("name", "description", "stage", "mtime", "userId", "sharedWith")


@dataclass(frozen=True, slots=True)
class Listing:
    """What the list is asked to show."""

    pattern: str
    stage: str
    sort: str
    offset: int
    total: int = 0
    limit: int = PAGE

    @property
    def query(self) -> Query:
        where = [Where("search", "contains", self.pattern)] if self.pattern else []
        if self.stage:
            where.append(Where("stage", "in", STAGES[self.stage]))
        path, direction = self.sort.split(":")
        return Query(where=tuple(where), sort=((path, int(direction)),), include=FIELDS, limit=PAGE, offset=self.offset)

    def address_at(self, offset: int) -> str:
        given = {"pattern": self.pattern, "stage": self.stage, "sort": self.sort, "offset": offset}
        plain = {"sort": next(iter(SORTS)), "offset": 0}
        query = urlencode({name: value for name, value in given.items() if value and value != plain.get(name)})
        return f"/app/flows?{query}" if query else "/app/flows"

    @property
    def address(self) -> str:
        return self.address_at(self.offset)

    @property
    def previous(self) -> str | None:
        return self.address_at(max(0, self.offset - PAGE)) if self.offset else None

    @property
    def next(self) -> str | None:
        return self.address_at(self.offset + PAGE) if self.offset + PAGE < self.total else None


def asked(total: int = 0, values: Any = None) -> Listing:
    """The listing a request's query (or form) asks for; what makes no sense counts as absent."""
    given = request.args if values is None else values
    stage, sort, offset = given.get("stage", ""), given.get("sort", ""), given.get("offset", "")
    return Listing(
        pattern=given.get("pattern", "").strip()[:200],
        stage=stage if stage in STAGES else "",
        sort=sort if sort in SORTS else next(iter(SORTS)),
        offset=int(offset) if offset.isdecimal() and len(offset) < 10 else 0,
        total=total,
    )


@pages.get("/app/flows")
def flow_list() -> ResponseReturnValue:
    context = _context(asked(), caller())
    if is_fragment():
        return fragment("parts/flow_list.html", **context)
    return render_template("pages/flows.html", **context)


def _context(listing: Listing, by: Caller) -> dict[str, Any]:
    flows = platform().flows
    total = flows.count(listing.query, by)
    if listing.offset >= total > 0:  # the last page's flows were deleted
        listing = Listing(listing.pattern, listing.stage, listing.sort, (total - 1) // PAGE * PAGE)
    listing = Listing(listing.pattern, listing.stage, listing.sort, listing.offset, total)
    rows = [row(flow, by) for flow in flows.list(listing.query, by)] if total else []
    any_flows = bool(total) or bool(flows.count(Query(), by))
    return {"listing": listing, "flows": rows, "any_flows": any_flows, "sorts": SORTS, "active": "flows"}


def row(flow: Doc, by: Caller) -> dict[str, Any]:
    """A flow as the templates show it: `allowed` says what the caller may do with it."""
    return {
        "flowId": flow["_id"],
        "name": flow.get("name") or "Untitled flow",
        "description": flow.get("description") or "",
        "stage": flow.get("stage", "stopped"),
        "mtime": iso(flow["mtime"]),
        "allowed": permissions(flow, by),
    }


@pages.post("/app/flows/import")
def import_flows() -> ResponseReturnValue:
    """Store the flows of the files given; a bad file does not keep the others out."""
    by = caller()
    names, problems = [], []
    for file in request.files.getlist("files"):
        try:
            for record in flow_files.read_file(file.filename or "file", file.read()):
                names.append(platform().flows.create(record, by)["name"])
        except HeadraceError as error:
            problems.append(_problem(file.filename or "file", error))
    done = f"Imported “{names[0]}”." if len(names) == 1 else f"Imported {len(names)} flows."
    text = " ".join([done] * bool(names) + problems) or "Choose a file with a flow."
    events = note(text, "success" if names and not problems else "error")
    return fragment("parts/flow_list.html", events=events, **_context(asked(values=request.form), by))


def _problem(filename: str, error: HeadraceError) -> str:
    return error.message if error.message.startswith(filename) else f"{filename}: {error.message}"


@pages.get("/app/flows/<flow_id>/export")
def export(flow_id: str) -> ResponseReturnValue:
    record = platform().flows.get(flow_id, caller())
    response = Response(flow_files.write_file(record), mimetype="application/json")
    response.headers["Content-Disposition"] = f'attachment; filename="{flow_files.file_name(record)}"'
    return response


@pages.delete("/app/flows/<flow_id>")
def delete(flow_id: str) -> ResponseReturnValue:
    """From the list: the list refreshes; from the flow's own page (`?leave=1`): back to the list."""
    by = caller()
    name = platform().flows.get(flow_id, by, "write").get("name") or "flow"
    platform().flows.delete(flow_id, by)
    if "leave" in request.args:
        return Response(status=204, headers={"HX-Redirect": "/app/flows"})
    return tell(Response(status=204), {**note(f"Deleted “{name}”."), "flows-changed": {}})
