"""Compiled plans of running flows, kept in memory and dropped when a flow changes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from sys import intern
from typing import Any

from engine.compiler import Lookup, Plan, Privacy, compile_flow
from engine.errors import NotFound
from engine.model.flow import read_descriptor
from engine.ports import NOTICES_LOST, Cache, Documents, Query, Where
from engine.rules.masking import DEFAULT_FIELDS, PayloadMode
from engine.services.modifiers import CHANGED as MODIFIERS_CHANGED
from engine.values.registry import Registry
from engine.values.template import FlowVariables

CHANGED = "flow-changed"
"""Cache channel: the id of a flow that was saved, started, stopped or deleted."""

KEPT = 20_000

COMPARED = 500
"""Flows read with one query to see whether they have changed."""

ESSENCE = ("revision", "stage", "run", "accounts")

_NOTHING: Mapping[str, Any] = {}


@dataclass(slots=True)
class RunningFlow:
    """A flow as the workers see it. `active` turns False the moment a stop is asked for."""

    id: str
    run: int
    revision: int
    stage: str
    user_id: str
    variables: FlowVariables
    accounts: Mapping[str, str]
    plan: Plan
    max_concurrency: int | None = None
    payload_mode: PayloadMode | None = None
    active: bool = True
    used: bool = field(default=True, repr=False)
    read_as: tuple[Any, ...] = field(default=(), repr=False)
    doors: dict[str, Any] = field(default_factory=dict, repr=False)
    """Where webhook calls come in, by component id, as `engine.services.webhooks` has made them out."""

    @property
    def starting(self) -> bool:
        return self.stage == "starting"


class Plans:
    """Look-ups by flow id. `registry` gives the modifiers in force when a plan is compiled."""

    def __init__(
        self,
        documents: Documents,
        cache: Cache,
        lookup: Lookup,
        registry: Callable[[], Registry],
        url: str,
        masked: Iterable[str] = DEFAULT_FIELDS,
    ) -> None:
        self._documents = documents
        self._lookup = lookup
        self._registry = registry
        self._url = url
        self._masked = frozenset(masked)
        self._running: OrderedDict[str, RunningFlow] = OrderedDict()
        self._old: OrderedDict[tuple[str, int], Plan] = OrderedDict()
        self._lock = threading.Lock()
        cache.subscribe(CHANGED, self.forget)
        cache.subscribe(MODIFIERS_CHANGED, self.forget_all)
        cache.subscribe(NOTICES_LOST, self._compare)

    def forget(self, flow_id: str) -> None:
        with self._lock:
            if (found := self._running.pop(flow_id, None)) is not None:
                found.active = False
            for key in [k for k in self._old if k[0] == flow_id]:
                del self._old[key]

    def _compare(self, _text: str) -> None:
        """Changes may have been missed: forget the flows that are no longer as they were read."""
        with self._lock:
            known = [(running.id, running.read_as) for running in self._running.values()]
        for begin in range(0, len(known), COMPARED):
            some = known[begin : begin + COMPARED]
            query = Query(where=(Where("_id", "in", [flow_id for flow_id, _ in some]),), include=ESSENCE)
            found = {record["_id"]: _essence(record) for record in self._documents.find("flows", query)}
            for flow_id, read_as in some:
                if found.get(flow_id) != read_as:
                    self.forget(flow_id)

    def running(self, flow_id: str) -> RunningFlow | None:
        """The flow if it is running or starting, else None."""
        found = self._running.get(flow_id)
        if found is not None:
            found.used = True
            return found
        return self._load(flow_id)

    def concurrency(self, flow_id: str) -> int | None:
        """The flow's own limit of messages at work at a time, if it is known by now; None: no limit."""
        found = self._running.get(flow_id)
        return found.max_concurrency if found is not None else None

    def _load(self, flow_id: str) -> RunningFlow | None:
        record = self._documents.get("flows", flow_id)
        if record is None or record.get("stage") not in ("running", "starting"):
            return None
        loaded = self.prepare(record)
        with self._lock:
            self._running[flow_id] = loaded
            while len(self._running) > KEPT:
                self._evict()
        # saved or stopped while it was being compiled: what was read may be old
        current = self._documents.get("flows", flow_id)
        if current is None or _essence(current) != _essence(record):
            self.forget(flow_id)
            return self.running(flow_id)
        return loaded

    def forget_all(self, _text: str = "") -> None:
        """Other modifiers are in force: what is compiled from now on uses them, messages under way go on."""
        with self._lock:
            self._running.clear()
            self._old.clear()

    def _evict(self) -> None:
        while True:
            flow_id, candidate = self._running.popitem(last=False)
            if not candidate.used:
                return
            candidate.used = False
            self._running[flow_id] = candidate

    def prepare(self, record: Mapping[str, Any]) -> RunningFlow:
        """Compile a flow record. Raises BadRequest as `compile_flow` does."""
        flow_id = record["_id"]
        return RunningFlow(
            id=flow_id,
            run=record.get("run") or 0,
            revision=record.get("revision") or 0,
            stage=intern(record.get("stage") or "stopped"),
            user_id=intern(record["userId"]),
            variables=self.variables(record),
            accounts=record.get("accounts") or _NOTHING,
            max_concurrency=record.get("maxConcurrency"),
            payload_mode=record.get("payloads"),
            plan=self._compile(record.get("flow"), record.get("payloads")),
            read_as=_essence(record),
        )

    def variables(self, record: Mapping[str, Any]) -> FlowVariables:
        return FlowVariables(
            flow_id=record["_id"],
            flow_name=record.get("name") or "",
            user_id=intern(record["userId"]),
            custom_fields=record.get("customFields") or _NOTHING,
            url=self._url,
        )

    def _compile(self, flow: Any, payloads: PayloadMode | None) -> Plan:
        privacy = Privacy(self._masked, payloads or "always")
        return compile_flow(read_descriptor(flow or {}), self._lookup, self._registry(), privacy)

    def plan(self, running: RunningFlow, revision: int) -> Plan:
        """The plan a message was made for; the newest if that revision is no longer kept."""
        if revision == running.revision:
            return running.plan
        key = (running.id, revision)
        if (plan := self._old.get(key)) is None:
            record = self._documents.get("revisions", f"{running.id}:{revision}")
            plan = self._compile(record["flow"], running.payload_mode) if record else running.plan
            with self._lock:
                self._old[key] = plan
                while len(self._old) > KEPT // 10:
                    self._old.popitem(last=False)
        return plan

    def require_record(self, flow_id: str) -> dict[str, Any]:
        if (record := self._documents.get("flows", flow_id)) is None:
            raise NotFound(f"there is no flow {flow_id}")
        return record


def _essence(record: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(record.get(key) for key in ESSENCE)
