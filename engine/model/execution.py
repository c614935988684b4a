"""One execution: what a trigger began, to the last step it caused (design.md §4 "Executions")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ACCOUNTING = frozenset(("delivery", "flow-stopped"))
"""Types of log records that are summed up to executions and shown to nobody (engine/services/accounting.py)."""

Status = Literal["running", "waiting", "succeeded", "failed", "cancelled"]

STATUSES: tuple[Status, ...] = ("running", "waiting", "succeeded", "failed", "cancelled")
SORTS = ("started", "ended", "status", "steps", "errors", "flowId", "correlationId")


@dataclass(frozen=True, slots=True)
class ExecutionQuery:
    """Which executions, in which order. `flow_ids=None` means any flow.

    `since` and `until` bound `started` (epoch ms, inclusive). `text` is a query as in LogQuery: those with
    a record of the run log that it finds. `sort` is [(field, 1 | -1)] over SORTS, ties by
    correlation id; by `started`, latest first, when empty.
    """

    flow_ids: tuple[str, ...] | None = None
    statuses: tuple[Status, ...] = ()
    correlation_ids: tuple[str, ...] = ()
    since: int | None = None
    until: int | None = None
    text: str = ""
    sort: tuple[tuple[str, int], ...] = ()
    limit: int = 100
    offset: int = 0


@dataclass(frozen=True, slots=True)
class ExecutionRow:
    """One execution as the accounting records tell it (design.md §4 "Executions"); times in epoch ms.

    `last` is the time of its newest record. `waiting` means "may wait": the log knows that something of it
    waited, only Documents knows whether it still does. `reason` says why it was cancelled.
    """

    correlation_id: str
    flow_id: str
    run: int
    revision: int
    trigger: str | None
    status: Status
    started: int
    last: int
    steps: int
    errors: int
    failed_at: str | None
    reason: str | None
    replay_of: str | None

    @property
    def is_open(self) -> bool:
        return self.status in ("running", "waiting")
