"""What the steps of one execution did, read from the run log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from engine.model.log import LogQuery
from engine.model.times import iso
from engine.ports import Doc, LogIndex

SKELETON = (
    "id", "created", "componentId", "componentType", "severity", "portType", "port", "senderId", "duration",
)  # fmt: skip
"""Of each record, what tells where it belongs; contents are read only where they are shown."""

PAGE = 5_000
AT_ONCE = 200
"""Records asked for by their ids in one query."""

MOST_RECORDS = 100_000
"""Of one execution; what comes after is not looked at."""


def quoted(text: str) -> str:
    """As a phrase of the query language."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def skeleton(log_index: LogIndex, flow_id: str, correlation_id: str, more: str = "") -> Iterator[Doc]:
    """The records of an execution's steps without contents, in order of time; at most MOST_RECORDS."""
    query = f"+type:data +correlationId:{quoted(correlation_id)} {more}"
    after: tuple[Any, ...] = ()
    for _ in range(MOST_RECORDS // PAGE):
        hits = log_index.search(
            LogQuery(
                query,
                (flow_id,),
                sort=(("gridTimestamp", 1), ("_id", 1)),
                size=PAGE,
                search_after=after,
                includes=SKELETON,
                buckets=False,
            )
        ).hits
        yield from hits
        if len(hits) < PAGE:
            return
        after = tuple(hits[-1]["sort"])


def contents(log_index: LogIndex, flow_id: str, ids: Sequence[str]) -> dict[str, Doc]:
    """Whole records by id."""
    found: dict[str, Doc] = {}
    for start in range(0, len(ids), AT_ONCE):
        part = ids[start : start + AT_ONCE]
        query = f"_id:({' OR '.join(quoted(id_) for id_ in part)})"
        page = log_index.search(LogQuery(query, (flow_id,), size=len(part), buckets=False))
        found |= {hit["_id"]: hit for hit in page.hits}
    return found


def parts_of(record_id: str) -> tuple[str, int, str]:
    """(message id, attempt, place in the call) of a record made by `engine.services.records`."""
    message_id, attempt, place = record_id.rsplit(".", 2)
    return message_id, int(attempt), place


@dataclass(slots=True)
class Call:
    """One try of one step: ids of its records. Times in epoch ms."""

    message_id: str
    attempt: int
    component_id: str
    component_type: str
    started: int
    last: int
    duration: int | None = None
    entered: str | None = None
    failed: str | None = None
    sent: list[tuple[int, str]] = field(default_factory=list)
    said: list[tuple[int, str]] = field(default_factory=list)

    def add(self, record: Doc, place: str) -> None:
        self.started = min(self.started, record["created"])
        self.last = max(self.last, record["created"])
        if place == "e":
            self.failed = record["id"]
        elif record["portType"] == "in":
            self.entered, self.duration = record["id"], record.get("duration")
        else:
            (self.said if record["portType"] == "log" else self.sent).append((int(place), record["id"]))

    @property
    def took(self) -> int | None:
        """Milliseconds; None for a trigger, whose beginning is not recorded."""
        if self.duration is not None:
            return self.duration
        return self.last - self.started if self.entered or self.failed else None

    def ids(self) -> list[str]:
        own = [id_ for id_ in (self.entered, self.failed) if id_ is not None]
        return own + [id_ for _, id_ in (*self.sent, *self.said)]


def calls(records: Iterable[Doc]) -> list[Call]:
    """Tries of steps in the order they began."""
    found: dict[tuple[str, int], Call] = {}
    for record in records:
        message_id, attempt, place = parts_of(record["id"])
        key = (message_id, attempt)
        if key not in found:
            created = record["created"]
            found[key] = Call(
                message_id, attempt, record["componentId"], record.get("componentType", ""), created, created
            )
        found[key].add(record, place)
    return sorted(found.values(), key=lambda call: (call.started, call.message_id, call.attempt))


def shown(call: Call, records: dict[str, Doc], labels: dict[str, str]) -> Doc:
    """As the API tells it."""
    entered, failed = records.get(call.entered or ""), records.get(call.failed or "")
    output = [
        {"port": record["port"], "content": content(record), **_cut(record)}
        for _, id_ in sorted(call.sent)
        if (record := records.get(id_)) is not None
    ]
    said = [
        {"level": record["severity"], "content": record.get("msg", "")}
        for _, id_ in sorted(call.said)
        if (record := records.get(id_)) is not None
    ]
    told: Doc = {
        "componentId": call.component_id,
        "componentType": call.component_type,
        "label": labels.get(call.component_id, ""),
        "messageId": call.message_id,
        "attempt": call.attempt,
        "started": iso(call.started),
        "duration": call.took,
        "input": None,
        "output": output,
        "error": _json(failed.get("err", "")) if failed else None,
    }
    if entered is not None:
        told["input"] = {"port": entered["port"], "content": content(entered), **_cut(entered)}
    elif failed is not None and failed.get("inputMessages"):
        given, port = _json(failed["inputMessages"]), failed["port"]
        told["input"] = {"port": port, "content": given.get(port) if isinstance(given, dict) else given}
    if said:
        told["log"] = said
    return told


def content(record: Doc) -> Any:
    """The JSON a record's text stands for; the text itself where only a part of it was kept; None for nothing."""
    text = record.get("msg") or ""
    return text if record.get("cut") else _json(text)


def _cut(record: Doc) -> Doc:
    return {"cut": record["cut"]} if record.get("cut") else {}


def _json(text: str) -> Any:
    if not text:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
