"""Digest: collects entries and hands them on together."""

from __future__ import annotations

from typing import Any

from connectors.appmixer.utils._kit.convert import as_text
from connectors.appmixer.utils._kit.dates import next_cron
from connectors.appmixer.utils._kit.options import option
from connectors.appmixer.utils._kit.recurring import arm, is_current
from engine.sdk import Component, Context

ENTRY = option("Entry", "entry")
COUNT = option("Number of entries", "count", {"type": "integer"})
INDEX = option("Position", "index", {"type": "integer"})
OPTIONS = {
    "array": [option("Entries", "entries", {"type": "array"}), COUNT],
    "object": [ENTRY, INDEX, COUNT],
    "first": [ENTRY, INDEX, COUNT],
    "file": [option("File", "fileId", {"type": "string", "format": "appmixer-file-id"}), COUNT],
}


class Digest(Component):
    """Entries wait in one gather; `take` gives each of them to exactly one drain."""

    effects = "state"

    def start(self, context: Context) -> None:
        if _scheduled(context):
            arm(context, next_cron(context.properties, context.now()))

    def receive(self, context: Context) -> None:
        if context.properties.get("getWebhookUrl"):
            url = context.webhook_url()
            context.send([{"label": url, "value": url}], "out")
        elif context.properties.get("generateOutputPortOptions"):
            context.send(OPTIONS[_output_type(context)], "out")
        elif "timeout" in context.messages:
            self._tick(context)
        elif "webhook" in context.messages:
            _drain(context, 0)
            context.respond()
        else:
            self._collect(context)

    def _tick(self, context: Context) -> None:
        if is_current(context):
            _drain(context, _threshold(context) or 1)
            arm(context, next_cron(context.properties, context.now()))

    def _collect(self, context: Context) -> None:
        context.gather("entries").add((context.messages["in"].content or {}).get("entry"))
        threshold = _threshold(context)
        if threshold and not _scheduled(context):
            _drain(context, threshold)


def _threshold(context: Context) -> int:
    return max(int(context.properties.get("threshold") or 0), 0)


def _scheduled(context: Context) -> bool:
    return any(context.properties.get(name) for name in ("minute", "hour", "dayMonth", "dayWeek"))


def _output_type(context: Context) -> str:
    wanted = context.properties.get("outputType")
    return wanted if wanted in OPTIONS else "array"


def _drain(context: Context, minimum: int) -> None:
    """Emit all entries if there are at least `minimum`. No entries is an output only as an empty array."""
    entries = context.gather("entries").take(minimum)
    output_type = _output_type(context)
    if entries is None or (not entries and output_type != "array"):
        return
    count = len(entries)
    if output_type == "array":
        context.send({"entries": entries, "count": count}, "out")
    elif output_type == "file":
        record = context.save_file("digest.csv", _csv(entries), "text/csv")
        context.send({"fileId": record.file_id, "count": count}, "out")
    else:
        chosen = entries[:1] if output_type == "first" else entries
        context.send_array(({"entry": e, "index": i, "count": count} for i, e in enumerate(chosen)), "out")


def _csv(entries: list[Any]) -> bytes:
    """The keys of the first entry as header, every value in quotes; entries that are no object make one column."""
    rows = [entry if isinstance(entry, dict) else {"entry": entry} for entry in entries]
    header = list(rows[0])
    lines = [",".join(header), *(",".join(_cell(row.get(name)) for name in header) for row in rows)]
    return "\n".join(lines).encode()


def _cell(value: Any) -> str:
    text = "" if value is None else as_text(value)
    return '"' + text.replace('"', '""') + '"'
