"""Executions: what ran, from a trigger to the last step it caused; looked at, cancelled and played again.

They are derived from the run log (`engine.services.accounting`), so one that has just begun or changed shows
a moment later. Who may read a flow may look, who may stop it may cancel, who may start it may play again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

from engine.errors import BadRequest, Conflict, NotFound
from engine.model.execution import SORTS, STATUSES, ExecutionQuery, ExecutionRow, Status
from engine.model.times import from_iso, iso
from engine.ports import Bus, Cache, Clock, Doc, Documents, LogIndex
from engine.rules.acl import Caller
from engine.services.cancelled import Cancelled
from engine.services.cancelling import Cancelling
from engine.services.execution_steps import calls, contents, shown, skeleton
from engine.services.failing import CANCELLED
from engine.services.flows import Flows
from engine.services.replays import Replays

MOST_STEPS = 1_000
"""Steps of one answer, contents and all."""


@dataclass(frozen=True, slots=True)
class ExecutionRequest:
    """The parameters of GET /executions as texts; `sort` is [(field, 1 | -1)]."""

    flow_ids: Sequence[str] = ()
    statuses: Sequence[str] = ()
    since: str = ""
    until: str = ""
    text: str = ""
    sort: Sequence[tuple[str, int]] = ()
    limit: int = 100
    offset: int = 0


class Executions:
    def __init__(
        self,
        *,
        documents: Documents,
        bus: Bus,
        cache: Cache,
        clock: Clock,
        log_index: LogIndex,
        flows: Flows,
        cancelled: Cancelled,
        replays: Replays,
    ) -> None:
        self._cancelling = Cancelling(documents, bus, cache, clock)
        self._log_index = log_index
        self._flows = flows
        self._cancelled = cancelled
        self._replays = replays

    # -- looking

    def list(self, caller: Caller, request: ExecutionRequest) -> list[Doc]:
        """Raises BadRequest naming the parameter, NotFound for a flow the caller may not see, TimedOut."""
        return [self._json(row) for row in self._log_index.executions(self._query(caller, request))]

    def count(self, caller: Caller, request: ExecutionRequest) -> int:
        return self._log_index.count_executions(self._query(caller, request))

    def get(self, caller: Caller, correlation_id: str, *, limit: int = 100, offset: int = 0) -> Doc:
        """One execution with `steps` in the order they began, `limit` of them from `offset` on, and `stepsTotal`.

        Raises NotFound, also when it is not for the caller to see.
        """
        row, flow = self._find(caller, correlation_id, "read")
        all_calls = calls(skeleton(self._log_index, row.flow_id, correlation_id))
        page = all_calls[offset : offset + min(limit, MOST_STEPS)]
        records = contents(self._log_index, row.flow_id, [id_ for call in page for id_ in call.ids()])
        labels = {cid: str(step.get("label") or "") for cid, step in (flow.get("flow") or {}).items()}
        steps = [shown(call, records, labels) for call in page]
        return {**self._json(row), "steps": steps, "stepsTotal": len(all_calls)}

    def _query(self, caller: Caller, request: ExecutionRequest) -> ExecutionQuery:
        if request.flow_ids:
            for flow_id in request.flow_ids:
                self._flows.get(flow_id, caller)
            flow_ids = tuple(dict.fromkeys(request.flow_ids))
        else:
            flow_ids = tuple(self._flows.ids_readable_by(caller))
        return replace(read_request(request), flow_ids=flow_ids)

    def _find(self, caller: Caller, correlation_id: str, permission: str) -> tuple[ExecutionRow, Doc]:
        """The execution, and its flow, if the caller may. Raises NotFound, Forbidden."""
        for row in self._log_index.execution(correlation_id):
            try:
                return row, self._flows.get(row.flow_id, caller, permission)
            except NotFound:
                continue
        raise NotFound(f"there is no execution {correlation_id}", code="EXECUTION_NOT_FOUND")

    def _json(self, row: ExecutionRow) -> Doc:
        status, reason = row.status, row.reason
        if row.is_open and (row.flow_id, row.correlation_id) in self._cancelled:
            status, reason = "cancelled", CANCELLED["message"]  # the log will say so in a moment
        over = status not in ("running", "waiting")
        return {
            "correlationId": row.correlation_id,
            "flowId": row.flow_id,
            "revision": row.revision,
            "trigger": row.trigger,
            "status": status,
            "started": iso(row.started),
            "ended": iso(row.last) if over else None,
            "steps": row.steps,
            "errors": row.errors,
            "failedAt": row.failed_at if status != "succeeded" else None,
            "reason": reason,
            "replayOf": row.replay_of,
        }

    # -- cancelling

    def cancel(self, caller: Caller, correlation_id: str) -> Doc:
        """No further step of it begins once this has returned; what runs is finished and recorded.

        Messages that wait become unprocessed ones with the reason "execution cancelled", its timers go.
        Raises NotFound, Forbidden, and Conflict when it has ended.
        """
        row, _ = self._find(caller, correlation_id, "stop")
        key = (row.flow_id, row.correlation_id)
        if not row.is_open and key not in self._cancelled:
            raise Conflict(f"execution {correlation_id} has ended ({row.status}): there is nothing to cancel")
        reason = f"cancelled by {caller.username}"
        now = self._cancelling(row, by=caller.username, reason=reason, text=f"Execution {reason}")
        return self._json(replace(row, status="cancelled", reason=reason, last=now))

    # -- playing again

    def replay(
        self,
        caller: Caller,
        correlation_id: str,
        component_id: str | None,
        *,
        revision: str = "newest",
        allow_masked: bool = False,
    ) -> Doc:
        """→ {correlationId, replayOf} of the new execution. `revision`: "newest" or "original".

        Raises as `Replays.replay`, and NotFound, Forbidden.
        """
        row, _ = self._find(caller, correlation_id, "start")
        newest, by = revision == "newest", caller.username
        begun = self._replays.replay(row, component_id, newest=newest, allow_masked=allow_masked, by=by)
        return {"correlationId": begun, "replayOf": correlation_id}


def read_request(request: ExecutionRequest) -> ExecutionQuery:
    """Everything but the flows. Raises BadRequest naming the parameter."""
    for status in request.statuses:
        if status not in STATUSES:
            raise BadRequest(f"status: {status!r} is none of {', '.join(STATUSES)}")
    for name, _ in request.sort:
        if name not in SORTS:
            raise BadRequest(f"sort: {name!r} is none of {', '.join(SORTS)}")
    return ExecutionQuery(
        statuses=cast(tuple[Status, ...], tuple(dict.fromkeys(request.statuses))),
        since=_time("from", request.since),
        until=_time("to", request.until),
        text=request.text.strip(),
        sort=tuple((name, 1 if direction > 0 else -1) for name, direction in request.sort),
        limit=request.limit,
        offset=request.offset,
    )


def _time(name: Literal["from", "to"], text: str) -> int | None:
    if not text:
        return None
    try:
        return int(text) if text.lstrip("-").isdecimal() and len(text) < 16 else from_iso(text)
    except (ValueError, OverflowError) as error:
        raise BadRequest(f"{name}: {text!r} is not a time; write 2026-01-31T08:15:00Z or epoch milliseconds") from error
