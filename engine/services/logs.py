"""The run log as its readers may see it: records of their own and of shared flows (rest-api.md §7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.errors import BadRequest, NotFound
from engine.model.log import LogPage, LogQuery
from engine.ports import Doc, LogIndex
from engine.rules.acl import Caller
from engine.services.flows import Flows

MAX_SIZE = 10_000
"""Records of one page; further pages are reached by `searchAfter`."""

MAX_OFFSET = 10_000
DEFAULT = LogQuery()
ALIASES = {"@timestamp": "gridTimestamp"}


@dataclass(frozen=True, slots=True)
class LogRequest:
    """The parameters of GET /logs as texts, each with all its values."""

    flow_ids: Sequence[str] = ()
    port_types: Sequence[str] = ()
    query: str = ""
    sort: Sequence[str] = ()
    size: str = ""
    offset: str = ""
    includes: Sequence[str] = ()
    excludes: Sequence[str] = ()
    search_after: Sequence[str] = ()
    buckets: bool = True


class Logs:
    def __init__(self, *, log_index: LogIndex, flows: Flows) -> None:
        self._log_index = log_index
        self._flows = flows

    def search(self, caller: Caller, request: LogRequest) -> LogPage:
        """Raises BadRequest naming the parameter, NotFound for a flow the caller may not see."""
        query = read_request(request)
        if request.flow_ids:
            for flow_id in request.flow_ids:
                self._flows.get(flow_id, caller)
            flow_ids = tuple(dict.fromkeys(request.flow_ids))
        else:
            flow_ids = tuple(self._flows.ids_readable_by(caller))
        return self._log_index.search(replace(query, flow_ids=flow_ids))

    def get(self, caller: Caller, id: str) -> Doc:
        """One record. Raises NotFound, also when it is not for the caller to see."""
        missing = NotFound(f"there is no log record {id!r}")
        record = self._log_index.get(id)
        if record is None:
            raise missing
        try:
            self._flows.get(record["flowId"], caller)
        except NotFound as error:
            raise missing from error
        return record


def read_request(request: LogRequest) -> LogQuery:
    """Everything but the flows. Raises BadRequest naming the parameter."""
    sort = tuple(_sort(text) for text in request.sort if text) or DEFAULT.sort
    return LogQuery(
        query=request.query,
        port_types=tuple(request.port_types),
        sort=sort,
        buckets=request.buckets,
        size=_number("size", request.size, DEFAULT.size, MAX_SIZE),
        offset=_number("from", request.offset, 0, MAX_OFFSET),
        search_after=_search_after(request.search_after, len(sort)),
        includes=_names(request.includes),
        excludes=_names(request.excludes),
    )


def _sort(text: str) -> tuple[str, int]:
    field, _, direction = text.partition(":")
    if not field or direction not in ("", "asc", "desc"):
        raise BadRequest(f'sort: must look like "gridTimestamp:desc" or "severity", not {text!r}')
    return ALIASES.get(field, field), -1 if direction == "desc" else 1


def _number(name: str, text: str, default: int, most: int) -> int:
    if not text:
        return default
    if not (text.isascii() and text.isdecimal()) or len(text) > 9 or int(text) > most:
        raise BadRequest(f"{name}: must be a whole number from 0 to {most}, not {text!r}")
    return int(text)


def _names(values: Sequence[str]) -> tuple[str, ...]:
    """Comma lists, repeated or not."""
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


def _search_after(values: Sequence[str], fields: int) -> tuple[Any, ...]:
    """The last hit's sort values: one for each sort field, and perhaps its `_id` (rest-api.md §7)."""
    if values and len(values) not in (fields, fields + 1):
        raise BadRequest(f"searchAfter: {len(values)} values for {fields} sort fields; give the last hit's sort values")
    return tuple(values)
