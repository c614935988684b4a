"""Groups of items that several messages contribute to and one takes: joins without locks (design.md §4.6).

One document per item, keyed by the message that brought it; one document says that a group
has fired. Items that were taken stay for an hour, marked: the message that brought one may be
redelivered, and must not bring it again. Retention clears them away.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from engine.ports import Documents, Query, State, Where

ITEMS = "gather_items"
GROUPS = "gather_groups"
PAGE = 2_000
_ORDER = (("created", 1), ("order", 1))


class DocumentGather:
    """`sdk.Gather` over Documents. `operation` gives the next operation id of the current call."""

    def __init__(
        self,
        documents: Documents,
        state: State,
        flow_id: str,
        group: str,
        operation: Callable[[], str],
        now: int,
        again: bool,
    ) -> None:
        self._documents = documents
        self._state = state
        self._owner = counts_owner(flow_id)
        self._group = group
        self._operation = operation
        self._now = now
        self._again = again

    def _waiting(self) -> tuple[Where, ...]:
        return (Where("group", "eq", self._group), Where("taken", "exists", False))

    def add(self, value: Any) -> None:
        op = self._operation()
        item = {"_id": f"{self._group}:{op}", "group": self._group, "value": value}
        self._documents.insert(ITEMS, {**item, "created": self._now, "order": time.time_ns()})
        # counted under the same operation: a redelivered message counts once, even if it died in between
        self._state.apply(self._owner, f"{op}:count", "inc", self._group, 1)

    def count(self) -> int:
        return int(self._state.get(self._owner, self._group) or 0)

    def items(self) -> list[Any]:
        return self._values(self._waiting())

    def fire(self) -> bool:
        op = self._operation()
        group = {"_id": self._group, "fired": op, "created": self._now}
        if self._documents.insert(GROUPS, group):
            return True
        found = self._documents.get(GROUPS, self._group)
        return found is not None and found.get("fired") == op

    @property
    def fired(self) -> bool:
        return self._documents.get(GROUPS, self._group) is not None

    def take(self, minimum: int = 0) -> list[Any] | None:
        op = self._operation()
        mine = (Where("group", "eq", self._group), Where("taken", "eq", op))
        found = self._values(mine) if self._again else []
        if not found:
            if self.count() < minimum:
                return None
            taken = self._documents.update_many(ITEMS, self._waiting(), {"taken": op})
            if taken < minimum:  # another message took them between the count and the update
                self._documents.update_many(ITEMS, mine, {"taken": None})
                return None
            found = self._values(mine)
        self._state.apply(self._owner, f"{op}:count", "inc", self._group, -len(found))
        return found

    def _values(self, where: tuple[Where, ...]) -> list[Any]:
        """By pages: a group may hold a hundred thousand items, and their documents weigh more than they do."""
        values: list[Any] = []
        while True:
            query = Query(where=where, sort=_ORDER, include=("value",), limit=PAGE, offset=len(values))
            page = self._documents.find(ITEMS, query)
            values.extend(doc["value"] for doc in page)
            if len(page) < PAGE:
                return values

    def clear(self) -> None:
        self._documents.delete_many(ITEMS, (Where("group", "eq", self._group),))
        self._documents.delete(GROUPS, self._group)
        self._state.apply(self._owner, self._operation(), "unset", self._group)


def counts_owner(flow_id: str) -> str:
    """Owner of the counts of all groups of a flow: counting the documents would take longer the more there are."""
    return f"gather:{flow_id}"


def forget_flow(documents: Documents, flow_id: str) -> None:
    """Drop all groups of a flow: it stopped."""
    documents.delete_many(ITEMS, (Where("group", "starts", f"{flow_id}:"),))
    documents.delete_many(GROUPS, (Where("_id", "starts", f"{flow_id}:"),))
