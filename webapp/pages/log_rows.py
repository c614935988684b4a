"""Records of the run log as rows to read; used by the log's pages and by the stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from engine.model.times import iso
from engine.ports import Doc

LONGEST = 300
"""Characters of a row's text; the whole is in its details."""


def rows(records: list[Doc], labels: Mapping[str, str]) -> list[dict[str, Any]]:
    return [row(record, labels) for record in records]


def row(record: Doc, labels: Mapping[str, str]) -> dict[str, Any]:
    """→ {id, key, created, severity, step, type, direction, port, text, sender}. `labels` name the flow's steps.

    `key` sorts rows by time and tells them apart.
    """
    cid = record.get("componentId")
    sender = record.get("senderId")
    return {
        "id": record["_id"],
        "key": f"{record['created']:013d}-{record['_id']}",
        "created": iso(record["created"]),
        "severity": record.get("severity", "info"),
        "step": labels.get(cid, cid) if cid else "Flow",
        "type": record.get("componentType") or "",
        "direction": record.get("portType") if cid else None,
        "port": record.get("port") or "",
        "text": text_of(record),
        "sender": labels.get(sender, sender) if sender and sender != cid else "",
    }


def text_of(record: Doc) -> str:
    """One line: the error's own words, else the message's text or its JSON."""
    problem = content(record.get("err"))
    if isinstance(problem, dict) and isinstance(problem.get("message"), str):
        text = problem["message"]
    else:
        value = content(record.get("msg"))
        text = value if isinstance(value, str) else "" if value is None else str(record["msg"])
    text = " ".join(text[: 2 * LONGEST].split())
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def content(text: Any) -> Any:
    """The value behind a record's JSON text; text that is not JSON stands for itself."""
    if not isinstance(text, str):
        return text
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
