"""What is cleared away by age, about once a minute by the timers role."""

from __future__ import annotations

from dataclasses import dataclass

from engine.ports import Clock, Documents, LogIndex, Where

DAY = 86_400_000
SPENT_KEPT = DAY // 24
"""Ids of taken items are kept this long: redeliveries come within it."""

GROUPS_KEPT = 7 * DAY
"""A join that has fired is remembered this long, so that late items do not open it again."""


@dataclass(slots=True)
class Retention:
    documents: Documents
    log_index: LogIndex
    clock: Clock
    log_days: int

    def __call__(self) -> None:
        now = self.clock.now()
        self.log_index.delete(before_ms=now - self.log_days * DAY)
        for collection in ("continuity", "webhook_keys"):
            self.documents.delete_many(collection, (Where("expires", "lt", now),))
        spent = (Where("created", "lt", now - SPENT_KEPT), Where("taken", "exists", True))
        self.documents.delete_many("gather_items", spent)
        self.documents.delete_many("gather_groups", (Where("created", "lt", now - GROUPS_KEPT),))
