"""Components that wait for messages on several ports before they fire (engine.md §2 "firePatterns").

Messages are held as gather items, one document each; the message that completes a row takes
all that wait, "in bulk".
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from engine.compiler import Step
from engine.model.message import Message
from engine.ports import Clock, Documents, Query, Where
from engine.rules.firing import fires
from engine.sdk import Incoming
from engine.services.gather import ITEMS


class Assembler:
    def __init__(self, documents: Documents, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock

    def add(self, step: Step, message: Message, content: Any) -> Mapping[str, Incoming]:
        """Hold the message; return what fires with it, by port, or nothing."""
        group = f"{message.flow_id}:{step.id}:fire:{message.run}"
        item = {
            "_id": f"{group}:{message.id}",
            "group": group,
            "created": self._clock.now(),
            "order": time.time_ns(),
            "value": {
                "port": message.port, "content": content, "original": message.content, "scope": message.scope,
                "correlationId": message.correlation_id, "sender": message.sender_id, "out": message.sender_port,
            },
        }  # fmt: skip
        self._documents.insert(ITEMS, item)
        taken = self._taken(group, message.id)
        if not taken:
            waiting = self._documents.find(ITEMS, Query(where=_waiting(group)))
            if not self._fires(step, waiting):
                return {}
            self._documents.update_many(ITEMS, _waiting(group), {"taken": message.id})
            taken = self._taken(group, message.id)
            if not self._fires(step, taken):  # another message fired between the look and the update
                mine = (Where("group", "eq", group), Where("taken", "eq", message.id))
                self._documents.update_many(ITEMS, mine, {"taken": None})
                return {}
        return self._bundle([doc["value"] for doc in taken])

    def _taken(self, group: str, by: str) -> list[dict[str, Any]]:
        where = (Where("group", "eq", group), Where("taken", "eq", by))
        return self._documents.find(ITEMS, Query(where=where, sort=(("created", 1), ("order", 1))))

    def _fires(self, step: Step, docs: list[dict[str, Any]]) -> bool:
        queued: dict[str, list[str]] = {}
        for doc in docs:
            queued.setdefault(doc["value"]["port"], []).append(doc["value"]["sender"])
        linked: dict[str, set[str]] = {}
        for port, sender, _ in step.links:
            linked.setdefault(port, set()).add(sender)
        return fires(step.manifest.fire_patterns, [p.name for p in step.manifest.in_ports], queued, linked)

    def _bundle(self, values: list[dict[str, Any]]) -> Mapping[str, Incoming]:
        by_port: dict[str, list[Incoming]] = {}
        for v in values:
            incoming = Incoming(v["content"], v["original"], v["correlationId"], v["scope"], v["sender"], v["out"])
            by_port.setdefault(v["port"], []).append(incoming)
        return {
            port: Incoming(
                last.content, last.original_content, last.correlation_id, last.scope, last.sender_id,
                last.sender_port, batch=tuple(all_),
            )
            for port, all_ in by_port.items()
            for last in (all_[-1],)
        }  # fmt: skip


def _waiting(group: str) -> tuple[Where, ...]:
    return (Where("group", "eq", group), Where("taken", "exists", False))
