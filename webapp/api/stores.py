"""Data stores and their entries (rest-api.md §6)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

import orjson
from flask import Blueprint, Response, request
from werkzeug.routing import BaseConverter

from engine.errors import BadRequest
from engine.ports import Doc, Query
from engine.services.listing import parse_list
from webapp.api.projection import projected
from webapp.current import platform
from webapp.downloads import attachment
from webapp.openapi import COUNT, LIST_PARAMS, OBJECT, TEXT, Param, Schema, operation, read_json
from webapp.session import caller

TAG = "Data stores"
STORE: Schema = {"type": "object", "properties": {"name": TEXT, "storeId": TEXT}}
ENTRY: Schema = {
    "type": "object",
    "properties": {
        "key": TEXT,
        "value": {},
        "storeId": TEXT,
        "userId": TEXT,
        "createdAt": TEXT,
        "updatedAt": TEXT,
    },
}
NAME: Schema = {"type": "object", "properties": {"name": TEXT}, "required": ["name"]}
STORE_ID = Param("storeId", "The store, required.")


class EntryKey(BaseConverter):
    """A key of an entry: whatever follows in the address, slashes included."""

    part_isolating = False
    regex = ".+"
    weight = 300


routes = Blueprint("stores", __name__)
routes.record(lambda state: state.app.url_map.converters.update(entry_key=EntryKey))


@routes.get("/stores")
@operation("List your stores", tag=TAG, query=LIST_PARAMS, answers={200: {"type": "array", "items": STORE}})
def stores() -> list[Doc]:
    query = parse_list(request.args, pattern_fields=("name",), renames={"storeId": "_id"})
    return projected(platform().stores.find_stores(caller().user_id, query), request.args)


@routes.post("/stores")
@operation("Create a store", tag=TAG, body=NAME, answers={200: {"type": "object", "properties": {"storeId": TEXT}}})
def create(body: dict[str, Any]) -> Doc:
    return {"storeId": platform().stores.create(caller().user_id, body["name"])}


@routes.get("/stores/<store_id>")
@operation("One store", tag=TAG, answers={200: STORE})
def store(store_id: str) -> Doc:
    return platform().stores.info(caller().user_id, store_id)


@routes.put("/stores/<store_id>")
@operation("Rename a store", tag=TAG, body=NAME, answers={200: OBJECT})
def rename(store_id: str, body: dict[str, Any]) -> Doc:
    return platform().stores.rename(caller().user_id, store_id, body["name"])


@routes.delete("/stores/<store_id>")
@operation("Delete a store with its entries", tag=TAG, answers={200: OBJECT})
def drop(store_id: str) -> Doc:
    platform().stores.drop(caller().user_id, store_id)
    return {}


@routes.get("/store")
@operation(
    "List entries of a store",
    tag=TAG,
    query=(STORE_ID, *LIST_PARAMS),
    answers={200: {"type": "array", "items": ENTRY}},
)
def entries() -> list[Doc]:
    user_id = caller().user_id
    found = platform().stores.entries(user_id, _store_id(), _entry_query())
    return projected([{**entry, "userId": user_id} for entry in found], request.args)


@routes.get("/store/count")
@operation("How many entries a store has", tag=TAG, query=(STORE_ID, *LIST_PARAMS), answers={200: COUNT})
def count() -> Doc:
    return {"count": platform().stores.count(caller().user_id, _store_id(), _entry_query())}


@routes.post("/store/<store_id>/<entry_key:key>", merge_slashes=False)
@operation(
    "Set an entry",
    tag=TAG,
    answers={200: ENTRY},
    description="The whole body is the value: JSON, or text when it is not sent as JSON.",
)
def set_entry(store_id: str, key: str) -> Doc:
    changed = platform().stores.set(caller().user_id, store_id, key, _value())
    return {
        "key": changed["key"],
        "value": changed["newValue"],
        "createdAt": changed["createdAt"],
        "updatedAt": changed["updatedAt"],
    }


@routes.patch("/store/<store_id>/<entry_key:key>", merge_slashes=False)
@operation(
    "Change the value of an entry, or rename it",
    tag=TAG,
    body={"type": "object", "properties": {"key": {"type": "string", "minLength": 1}, "value": {}}},
    answers={200: ENTRY},
)
def patch_entry(store_id: str, key: str, body: dict[str, Any]) -> Doc:
    entry = platform().stores.patch(caller().user_id, store_id, key, body)
    return {name: entry[name] for name in ("key", "value", "createdAt", "updatedAt")}


@routes.delete("/store/<store_id>/<entry_key:key>", merge_slashes=False)
@operation("Delete an entry", tag=TAG, answers={200: OBJECT}, description="A missing key is no error.")
def remove_entry(store_id: str, key: str) -> Doc:
    return platform().stores.remove(caller().user_id, store_id, key)


@routes.delete("/store")
@operation(
    "Delete entries of one or several stores",
    tag=TAG,
    body={
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"key": TEXT, "storeId": TEXT},
            "required": ["key", "storeId"],
        },
    },
    answers={200: {"type": "object", "properties": {"deletedCount": {"type": "integer"}}}},
)
def remove_entries(body: list[dict[str, str]]) -> Doc:
    pairs = [(item["storeId"], item["key"]) for item in body]
    return {"deletedCount": platform().stores.remove_many(caller().user_id, pairs)}


@routes.get("/store/download/<store_id>")
@operation(
    "All entries of a store as a file",
    tag=TAG,
    query=(Param("format", "json (as when absent) or csv."),),
    answers={200: "application/octet-stream"},
)
def download(store_id: str) -> Response:
    user_id = caller().user_id
    form = request.args.get("format", "json")
    if form not in ("json", "csv"):
        raise BadRequest(f"format: must be json or csv, not {form!r}")
    name = platform().stores.info(user_id, store_id)["name"]
    found = platform().stores.export(user_id, store_id)
    chunks = _as_csv(found) if form == "csv" else _as_json(found)
    return Response(chunks, mimetype="application/octet-stream", headers=attachment(f"{name}.{form}"))


def _store_id() -> str:
    store_id = request.args.get("storeId")
    if not store_id:
        raise BadRequest("storeId: must be given, as in /store?storeId=…")
    return store_id


def _entry_query() -> Query:
    return parse_list(request.args, pattern_fields=("key",), renames={})


def _value() -> Any:
    """What is sent as JSON is read as JSON; anything else is text, unless nobody says what it is and it is JSON."""
    data = request.get_data()
    if request.mimetype == "application/json":
        return read_json() if data else None
    if request.mimetype in ("", "application/x-www-form-urlencoded", "application/octet-stream"):
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            pass
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadRequest("a value must be JSON or text in UTF-8; save other content as a file") from error


def _as_json(found: Iterable[Doc]) -> Iterator[bytes]:
    before = b"["
    for entry in found:
        yield before + orjson.dumps(entry)
        before = b",\n"
    yield b"[]" if before == b"[" else b"]"


def _as_csv(found: Iterable[Doc]) -> Iterator[str]:
    yield "key,value,createdAt,updatedAt\r\n"
    for entry in found:
        line = io.StringIO()
        value = entry["value"]
        text = value if isinstance(value, str) else orjson.dumps(value).decode()
        csv.writer(line).writerow([entry["key"], text, entry["createdAt"], entry["updatedAt"]])
        yield line.getvalue()
