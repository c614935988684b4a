"""Components that are told of changes in a data store (engine.md §3, `registerWebhook`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from engine.errors import BadRequest
from engine.model.times import iso
from engine.ports import Doc, Documents, Query, Where

EVENTS = ("insert", "update", "delete")

Notify = Callable[[list[Doc]], None]
"""Takes [{eventId, flowId, componentId, content: {type, currentValue, oldValue?}}] and makes it durable.

`content` is the `data` of the webhook call that each component receives. `eventId` is the same
when a change is told again, so that ids can be derived from it.
"""


class StoreWatchers:
    def __init__(self, *, documents: Documents, notify: Notify) -> None:
        self._documents = documents
        self._notify = notify

    def register(self, store_id: str, flow_id: str, component_id: str, events: Iterable[str]) -> None:
        """Raises BadRequest for an event that does not exist. Registering again replaces."""
        wanted = list(dict.fromkeys(events))
        if bad := [event for event in wanted if event not in EVENTS]:
            raise BadRequest(f"a store has no event {bad[0]!r}; it has {', '.join(EVENTS)}")
        self._documents.put(
            "store_webhooks",
            {
                "_id": f"{store_id}:{component_id}",
                "storeId": store_id,
                "flowId": flow_id,
                "componentId": component_id,
                "events": wanted,
            },
        )

    def unregister(self, store_id: str, component_id: str) -> None:
        self._documents.delete("store_webhooks", f"{store_id}:{component_id}")

    def of(self, store_id: str, event: str) -> list[Doc]:
        """Who wants to know of `event`."""
        registered = self._documents.find("store_webhooks", Query(where=(Where("storeId", "eq", store_id),)))
        return [doc for doc in registered if event in doc["events"]]

    def changed(self, entry: Doc, event: str, event_id: str, old: Any = None) -> None:
        """Tell of one change. `old` is the former value of an update."""
        if watchers := self.of(entry["storeId"], event):
            self._notify([_notice(to, entry, event, event_id, old) for to in watchers])

    def removed(self, entries: Sequence[Doc], watchers: Sequence[Doc]) -> None:
        """Tell `watchers` that all of `entries` are gone."""
        self._notify([_notice(to, entry, "delete", entry["version"]) for entry in entries for to in watchers])


def _notice(to: Doc, entry: Doc, event: str, event_id: str, old: Any = None) -> Doc:
    data = {"type": event, "currentValue": entry_json(entry)}
    if event == "update":
        data["oldValue"] = old
    return {
        "eventId": f"{event_id}:{event}:{entry['_id']}",
        "flowId": to["flowId"],
        "componentId": to["componentId"],
        "content": data,
    }


def entry_json(doc: Doc) -> Doc:
    """A stored entry as the API shows it."""
    return {
        "key": doc["key"],
        "value": doc.get("value"),
        "storeId": doc["storeId"],
        "createdAt": iso(doc["createdAt"]),
        "updatedAt": iso(doc["updatedAt"]),
    }
