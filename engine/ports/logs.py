"""The run log and the executions it tells of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from engine.model.execution import ExecutionQuery, ExecutionRow
from engine.model.log import LogPage, LogQuery
from engine.ports.storage import Doc


class LogIndex(Protocol):
    def append(self, records: Sequence[Doc]) -> None:
        """Idempotent by record `id`; a record goes to the month of its `created`.

        Accounting records (type "delivery" and "flow-stopped", see `engine.services.accounting`) are not
        searchable: they are summed up to executions, each counted once however often it is appended.
        """

    def search(self, query: LogQuery) -> LogPage: ...
    def get(self, id: str) -> Doc | None: ...
    def executions(self, query: ExecutionQuery) -> list[ExecutionRow]:
        """Raises BadRequest for a sort field or text it cannot do, TimedOut."""

    def count_executions(self, query: ExecutionQuery) -> int:
        """How many match; sort, limit and offset do not matter. Raises as `executions`."""

    def execution(self, correlation_id: str) -> list[ExecutionRow]:
        """One row for each flow that took part: a caller of a webhook chooses the correlation id it names."""

    def waiting(self, since: int, limit: int) -> list[ExecutionRow]:
        """Those of status `waiting` whose newest record is not older than `since`, oldest first."""

    def conclude(self, rows: Sequence[ExecutionRow]) -> None:
        """They wait no longer: ended, unless a record has come since the row was read."""

    def delete(self, *, before_ms: int | None = None, flow_ids: Sequence[str] = ()) -> int:
        """Delete what is older than `before_ms` and (if given) of `flow_ids`; the number of log records."""

    def shrink(self, limit: int) -> bool:
        """If more than `limit` bytes are used, delete a piece of the oldest; whether that was so. Call it again."""

    def size(self) -> int:
        """Bytes on disk."""

    def close(self) -> None: ...
