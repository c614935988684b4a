"""Flow files: what an exported flow looks like, and what is taken on import."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any

import orjson

from engine.errors import BadRequest
from engine.ports import Doc

EXPORTED = ("name", "description", "type", "flow", "customFields", "notes", "wizard", "unlinked", "thumbnail")
"""Fields of a record that a file holds; owner, sharing, accounts and times stay behind."""


def read_file(filename: str, content: bytes) -> list[dict[str, Any]]:
    """The flows of a JSON file: a record with a `flow`, a bare descriptor, or a list of these.

    A flow without a name gets the file's. Raises BadRequest naming the file and what is wrong with it.
    """
    try:
        value = orjson.loads(content.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"{filename}: this is not JSON ({error})") from error
    items = value if isinstance(value, list) else [value]
    if not items:
        raise BadRequest(f"{filename}: the file holds no flow")
    return [_record(filename, item) for item in items]


def _record(filename: str, item: Any) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise BadRequest(f"{filename}: a flow must be a JSON object")
    record = {name: item[name] for name in EXPORTED if item.get(name) is not None}
    if "flow" not in record:
        if not item or not all(isinstance(step, dict) and "type" in step for step in item.values()):
            raise BadRequest(f"{filename}: this is not a flow: it has no “flow” with its components")
        record = {"flow": item}
    if not isinstance(record.get("name"), str) or not record["name"].strip():
        record["name"] = PurePath(filename).stem
    return record


def write_file(record: Doc) -> bytes:
    """The file of a flow, indented so that it can be read and compared."""
    fields = {name: record[name] for name in EXPORTED if record.get(name) is not None}
    return orjson.dumps(fields, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def file_name(record: Doc) -> str:
    """A safe name for the file, from the flow's."""
    return (re.sub(r"[^\w.-]+", "-", str(record.get("name", "")), flags=re.ASCII).strip("-.") or "flow")[:80] + ".json"
