"""Flows: saved descriptors and who may see and change them (rest-api.md §3).

Saving is optimistic: every change makes a new `revision`, and whoever names the revision it
started from (`if_match`) is refused when somebody was faster (design-browser.md §1).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from engine.compiler import Lookup, check
from engine.errors import BadRequest, Conflict, PreconditionFailed
from engine.model.flow import read_descriptor
from engine.model.times import iso
from engine.ports import Cache, Clock, Doc, Documents, LogIndex, Query, State, Where
from engine.rules import acl
from engine.rules.acl import Caller
from engine.rules.cloning import clone_descriptor
from engine.services import deleted, flow_record
from engine.services.accounts import misfit
from engine.services.empty_variables import warnings
from engine.services.flow_record import ID, derived, read_changes
from engine.services.plans import CHANGED
from engine.services.secrecy import Secrecy, restored
from engine.services.state_view import component_owner, flow_owner

ROUNDS = 10
BELONGINGS = (
    "timers",
    "unprocessed",
    "continuity",
    "listeners",
    "store_webhooks",
    "revisions",
    "webhook_keys",
    "cancelled",
)
NEVER_CLONED = ("sharedWith", "accounts", "originFlowId", "templateId", "componentIdMap")
GUARDED = ("flow", "accounts")
"""What a running flow's messages depend on: changed only with `force`."""


class Stopper(Protocol):
    def stop(self, flow_id: str, *, background: bool = False) -> Any:
        """Stop a flow and, unless in the background, wait until it is."""


class Flows:
    """`lookup` finds a component type; `limit` is the size of the largest descriptor, in bytes."""

    def __init__(
        self,
        *,
        documents: Documents,
        state: State,
        cache: Cache,
        log_index: LogIndex,
        clock: Clock,
        lookup: Lookup,
        lifecycle: Stopper,
        secrecy: Secrecy,
        limit: int,
    ) -> None:
        self._documents = documents
        self._state = state
        self._cache = cache
        self._log_index = log_index
        self._clock = clock
        self._lookup = lookup
        self._lifecycle = lifecycle
        self._secrecy = secrecy
        self._limit = limit

    # -- reading

    def get(self, flow_id: str, caller: Caller, permission: str = "read") -> Doc:
        """The record, its passwords masked unless it is the caller's own.

        Raises NotFound for strangers, Forbidden for those who may see it but not do this.
        """
        return self._shown(
            dict(acl.require(self._documents.get("flows", flow_id), caller, permission, flow_id)), caller
        )

    def _shown(self, record: Doc, caller: Caller) -> Doc:
        return record if record.get("userId") == caller.user_id else self._secrecy.for_others(record)

    def list(self, query: Query, caller: Caller, shared_for: tuple[str, ...] = ()) -> list[Doc]:
        """Own and shared flows, newest change first unless sorted. An administrator's filter on userId reaches all.

        `shared_for` keeps, of the shared ones, those that give all these permissions. Of the query,
        `any_of` may be one regular expression on `search`, which stands for name and id.
        """
        query = self._visible(query, caller, shared_for)
        needed = ("userId", "sharedWith")
        if query.include:
            query = replace(query, include=tuple(dict.fromkeys((*query.include, *needed))))
        exclude = tuple(name for name in query.exclude if name not in needed)
        query = replace(query, exclude=exclude, sort=query.sort or (("mtime", -1),))
        return [self._shown(record, caller) for record in self._documents.find("flows", query)]

    def count(self, query: Query, caller: Caller, shared_for: tuple[str, ...] = ()) -> int:
        return self._documents.count("flows", replace(self._visible(query, caller, shared_for), limit=None, offset=0))

    def problems(self, flow_id: str, caller: Caller) -> tuple[dict[str, str], ...]:
        """All that keeps the flow from starting: `{componentId, path, keyword, message}` each."""
        record = self.get(flow_id, caller)
        found = check(read_descriptor(record["flow"]), self._lookup, record.get("accounts") or {})
        return tuple(problem.to_json() for problem in found)

    def warnings(self, flow_id: str, caller: Caller) -> tuple[dict[str, str], ...]:
        """What the flow may start with, but hardly means: in the form of `problems`."""
        record = self.get(flow_id, caller)
        return tuple(problem.to_json() for problem in warnings(read_descriptor(record["flow"]), self._lookup))

    def ids_readable_by(self, caller: Caller) -> tuple[str, ...]:
        """Ids of all own and shared flows; what the run log may show."""
        query = self._visible(Query(include=("_id",)), caller, ())
        return tuple(flow["_id"] for flow in self._documents.find("flows", query))

    def _visible(self, query: Query, caller: Caller, shared_for: tuple[str, ...]) -> Query:
        # one of name and id, each a line of the field `search`, so that `any_of` stays free for ownership
        searched = tuple(replace(condition, value=f"(?m){condition.value}") for condition in query.any_of)
        where = query.where + searched
        if caller.admin and any(condition.path == "userId" for condition in where):
            return replace(query, where=where, any_of=())
        own = Where("userId", "eq", caller.user_id)
        shared = self._shared_with(caller, frozenset(shared_for or ("read",)))
        return replace(query, where=where, any_of=(own, Where("_id", "in", list(shared))) if shared else (own,))

    def _shared_with(self, caller: Caller, wanted: frozenset[str]) -> tuple[str, ...]:
        stranger = replace(caller, scope=caller.scope - {acl.ADMIN}) if caller.admin else caller
        shared = self._documents.find("flows", Query(where=(Where("shared", "eq", 1),), include=("sharedWith",)))
        return tuple(flow["_id"] for flow in shared if wanted <= acl.permissions(flow, stranger))

    # -- writing

    def create(self, body: Any, caller: Caller, flow_id: str | None = None) -> Doc:
        """Store a new flow of the caller's. Raises BadRequest, TooLarge; Conflict when the id is taken."""
        if flow_id is not None and not ID.fullmatch(flow_id):
            raise BadRequest("a flow's id may have up to 64 letters, digits, - and _")
        changes = read_changes(body, self._limit)
        record: Doc = {
            "_id": flow_id or str(uuid.uuid4()),
            "userId": caller.user_id,
            "name": "New flow",
            "flow": {},
            "customFields": {},
            "stage": "stopped",
            **{name: value for name, value in changes.items() if value is not None},
        }
        record["accounts"] = self._checked_accounts(changes.get("accounts") or {}, record)
        now = self._clock.now()
        record |= {"btime": now, "mtime": now, "revision": 1, "changedBy": caller.username}
        self._stamp(record, {})
        record |= {name: value for name, value in derived(record).items() if value is not None}
        if not self._documents.insert("flows", record):
            raise Conflict(f"there is a flow {record['_id']} already")
        if flow_id is not None:
            deleted.unmark(self._documents, self._cache, flow_id)
        return record

    def save(self, flow_id: str, body: Any, caller: Caller, *, if_match: int | None = None, force: bool = False) -> Doc:
        """Change the given fields, or create the flow when there is none. Returns the record.

        Raises NotFound, Forbidden, BadRequest, TooLarge; PreconditionFailed when `if_match` is not the
        stored revision, its details `[{revision, mtime, by}]`; Conflict when the descriptor or the
        accounts of a flow that is not stopped would change without `force`.
        """
        for _ in range(ROUNDS):
            stored = self._documents.get("flows", flow_id)
            if stored is None and if_match is None:
                return self.create(body, caller, flow_id)
            stored = dict(acl.require(stored, caller, "write", flow_id))
            if if_match is not None and if_match != stored["revision"]:
                raise _overtaken(stored)
            given = read_changes(body, self._limit)
            if stored["userId"] != caller.user_id and "flow" in given:
                given["flow"] = restored(given["flow"], stored["flow"])
            changes = self._difference(stored, given)
            if not changes:
                return stored
            running = stored["stage"] != "stopped"
            if running and not force and any(path.partition(".")[0] in GUARDED for path in changes):
                raise Conflict(
                    f"flow {flow_id} is {stored['stage']}: stop it first, or save with forceUpdate=true",
                    code="FLOW_RUNNING",
                )
            # messages on their way finish on the revision they began with, and executions are played again on it
            if self._write(stored, changes, caller, keep_former=running or stored.get("ran") == stored["revision"]):
                return self.get(flow_id, caller)
        raise Conflict(f"flow {flow_id} is being changed by others all the time: try again")

    def _write(self, stored: Doc, changes: dict[str, Any], caller: Caller, *, keep_former: bool) -> bool:
        """False when somebody else changed or started the flow meanwhile."""
        revision = stored["revision"]
        if keep_former:
            former = {name: stored.get(name) for name in ("revision", "flow", "accounts")}
            key = f"{stored['_id']}:{revision}"
            kept = {"_id": key, "flowId": stored["_id"], "created": self._clock.now()}
            self._documents.put("revisions", {**kept, **former})
        by = {"revision": revision + 1, "mtime": self._clock.now(), "changedBy": caller.username}
        expect = (Where("revision", "eq", revision), Where("stage", "eq", stored["stage"]))
        if not self._documents.update("flows", stored["_id"], {**changes, **by}, expect):
            return False
        self._cache.publish(CHANGED, stored["_id"])
        return True

    def _difference(self, stored: Doc, changes: dict[str, Any]) -> dict[str, Any]:
        """Dotted paths to set, None to remove. Accounts go one by one: a step may be bound meanwhile."""
        given = changes.pop("accounts", None)
        after = {**stored, **changes}
        self._stamp(after, stored.get("flow") or {})
        former = stored.get("accounts") or {}
        after["accounts"] = (
            {cid: account for cid, account in former.items() if _same_type(cid, stored["flow"], after["flow"])}
            if given is None
            else self._checked_accounts(given, after)
        )
        names = {*changes, "type", "flow"}
        difference = {name: after.get(name) for name in names if after.get(name) != stored.get(name)}
        for cid in {*former, *after["accounts"]}:
            if former.get(cid) != after["accounts"].get(cid):
                difference[f"accounts.{cid}"] = after["accounts"].get(cid)
        if difference:
            for name, value in derived(after).items():
                if value != stored.get(name):
                    difference[name] = value
        return difference

    def _checked_accounts(self, given: Mapping[str, Any], record: Doc) -> dict[str, str]:
        """Bindings of steps the flow has. Raises BadRequest for accounts that are another's, or of another service."""
        kept = {cid: str(account) for cid, account in given.items() if account is not None and cid in record["flow"]}
        for cid, account in kept.items():
            found = self._documents.get("accounts", account)
            if found is None or found["userId"] != record["userId"]:
                raise BadRequest(f"accounts.{cid}: the flow's owner has no account {account}")
            known = self._lookup(record["flow"][cid]["type"])
            if wrong := misfit(known.manifest.auth_service if known else None, found):
                raise BadRequest(f"accounts.{cid}: {wrong}")
        return kept

    def _stamp(self, record: Doc, former: Mapping[str, Any]) -> None:
        """Give steps without a version their former one or the catalogue's, and the flow its type (rest-api.md §3)."""
        stamped = {}
        for cid, step in (record.get("flow") or {}).items():
            if not step.get("version"):
                version = former[cid].get("version") if _same_type(cid, former, record["flow"]) else None
                known = self._lookup(step["type"])
                version = version or (known.manifest.version if known else None)
                step = {**step, "version": version} if version else step
            stamped[cid] = step
        record["flow"] = stamped
        if not record.get("type") and not record.get("templateId"):
            record["type"] = "automation"

    def delete(self, flow_id: str, caller: Caller) -> None:
        """Stop the flow, then remove it with its state, timers, unprocessed messages and run log.

        The record goes last: after a failure the same call goes on where it stopped.
        """
        record = self.get(flow_id, caller, "write")
        if record["stage"] != "stopped":
            self._lifecycle.stop(flow_id)
        deleted.mark(self._documents, self._cache, self._clock.now(), flow_id)
        for owner in (flow_owner(flow_id), *(component_owner(flow_id, cid) for cid in record["flow"])):
            self._state.drop(owner)
        for collection in BELONGINGS:
            self._documents.delete_many(collection, (Where("flowId", "eq", flow_id),))
        self._log_index.delete(flow_ids=(flow_id,))
        self._documents.delete("flows", flow_id)
        self._cache.publish(CHANGED, flow_id)

    def clone(self, flow_id: str, caller: Caller, options: Mapping[str, Any]) -> Doc:
        """A copy of the caller's own of a flow they may read, with new component ids (rest-api.md §3)."""
        source = self.get(flow_id, caller)
        query = options.get("projection") or ""
        names = [part.strip() for part in str(query).split(",") if part.strip()]
        left_out = {name[1:] for name in names if name.startswith("-")}
        picked = {name for name in names if not name.startswith("-")}
        body = {
            name: source[name]
            for name in flow_record.WRITABLE
            if name in source and name not in NEVER_CLONED and name not in left_out and (not picked or name in picked)
        }
        body["name"] = f"{options.get('prefix') or ''}{source['name']}"
        flow, ids = clone_descriptor(body.get("flow") or {}, lambda: str(uuid.uuid4()))
        body["flow"] = flow
        if "unlinked" in body:
            body["unlinked"] = {ids.get(cid, cid): values for cid, values in (body["unlinked"] or {}).items()}
        if options.get("isTemplateInstance"):
            body["templateId"] = flow_id
        if options.get("setOriginFlowId"):
            body["originFlowId"] = flow_id
        if options.get("setComponentIdMap", True):
            body["componentIdMap"] = ids
        if options.get("connectAccounts") and source["userId"] == caller.user_id:
            bound = source.get("accounts") or {}
            body["accounts"] = {ids[cid]: account for cid, account in bound.items() if cid in ids}
        return self.create({**body, **(options.get("additional") or {})}, caller)


def _same_type(cid: str, former: Mapping[str, Any], flow: Mapping[str, Any]) -> bool:
    """Whether a step is still there as the same component."""
    return cid in former and cid in flow and former[cid].get("type") == flow[cid].get("type")


def _overtaken(stored: Doc) -> PreconditionFailed:
    newer = {"revision": stored["revision"], "mtime": iso(stored["mtime"]), "by": stored.get("changedBy")}
    return PreconditionFailed(
        f"flow {stored['_id']} was changed by {newer['by']}: it is now at revision {newer['revision']}", details=[newer]
    )
