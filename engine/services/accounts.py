"""Accounts: a user's keys to other services, and which step uses which (rest-api.md §5).

Tokens are sealed by the vault and never returned. A binding is an entry of the flow record's
`accounts` map, {component id: account id}, outside the descriptor (engine.md §4). Whatever
belongs to somebody else does not exist here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import orjson

from engine.errors import BadRequest, NotFound, StepError
from engine.model.ids import object_id
from engine.model.manifest import Manifest
from engine.ports import Cache, Clock, Doc, Documents, Http, Query, Where
from engine.services import auth_modules
from engine.services.auth_modules import AuthContext, AuthModule
from engine.services.vault import Vault

MAX_NAME = 255
RENEW_BEFORE_MS = 60_000
SERVICE = re.compile(r"[A-Za-z0-9_-]+(:[A-Za-z0-9_-]+){1,2}")
NO_COMPONENT = "Component not found in any of your flows"
ALL = Query()


class HasManifest(Protocol):
    @property
    def manifest(self) -> Manifest: ...


class Connectors(Protocol):
    """The part of the catalogue that accounts need."""

    def auth(self, service: str) -> AuthModule | None: ...
    def apps(self) -> Mapping[str, Mapping[str, Any]]: ...
    def get(self, type: str) -> HasManifest | None: ...


class Accounts:
    """`service_config` gives the administrator's keys for a service, `stop_flow` stops a flow and waits."""

    def __init__(
        self,
        *,
        documents: Documents,
        vault: Vault,
        catalogue: Connectors,
        http: Http,
        cache: Cache,
        clock: Clock,
        service_config: Callable[[str], Mapping[str, Any]],
        stop_flow: Callable[[str], object],
    ) -> None:
        self._documents = documents
        self._vault = vault
        self._catalogue = catalogue
        self._http = http
        self._cache = cache
        self._clock = clock
        self._service_config = service_config
        self._stop_flow = stop_flow

    # -- accounts

    def find(self, user_id: str, query: Query = ALL) -> list[Doc]:
        """The user's accounts as rest-api.md §5 shows them. Raises BadRequest for a filter on tokens."""
        for path in (*(w.path for w in (*query.where, *query.any_of)), *(path for path, _ in query.sort)):
            if path.partition(".")[0] == "token":
                raise BadRequest("accounts cannot be filtered or sorted by their token")
        where = (*query.where, Where("userId", "eq", user_id))
        query = replace(query, where=where, sort=query.sort or (("created", 1),), include=(), exclude=())
        apps = self._catalogue.apps()
        return [_json(doc, apps) for doc in self._documents.find("accounts", query)]

    def info(self, user_id: str, account_id: str) -> Doc:
        return _json(self._owned(user_id, account_id), self._catalogue.apps())

    def create(self, user_id: str, given: Mapping[str, Any], *, request_profile: bool = True) -> Doc:
        """Connect an account: {service, token, name?, displayName?, profileInfo?}. → the account, `pre` besides.

        An account of the same service and displayName gets the new token instead. Raises BadRequest:
        no such service, missing fields, or what the service said against them.
        """
        module = self._module(given.get("service"))
        token = auth_modules.read_token(module, given.get("token"))
        context = self._context(module, token, _object(given.get("profileInfo"), "profileInfo"))
        token = {**token, **auth_modules.validate(module, context, self._clock.now())}
        context = replace(context, auth={**context.config, **token})
        if not context.profile_info and request_profile:
            context = replace(context, profile_info=auth_modules.profile(module, context))
        name = _text(given.get("name"), "name") or auth_modules.account_name(module, context)
        display_name = _text(given.get("displayName"), "displayName")
        doc = {
            "_id": object_id(), "userId": user_id, "service": given["service"], "name": name,
            "displayName": display_name, "token": self._vault.seal(token),
            "profileInfo": dict(context.profile_info), "created": self._clock.now(), "revoked": False,
        }  # fmt: skip
        if display_name and (former := self._named(user_id, module.service, display_name)):
            doc |= {"_id": former["_id"], "created": former["created"]}
        self._documents.put("accounts", doc)
        shown = _json(doc, {})
        del shown["icon"], shown["label"]
        return {**shown, "pre": {}}

    def rename(self, user_id: str, account_id: str, display_name: Any) -> None:
        """Set or (None) remove the name the user gave."""
        self._owned(user_id, account_id)
        self._documents.update("accounts", account_id, {"displayName": _text(display_name, "displayName")})

    def delete(self, user_id: str, account_id: str) -> None:
        """Stop the flows that use it, unbind it, then delete it."""
        self._owned(user_id, account_id)
        for flow in self._flows_using(user_id, account_id):
            if flow.get("stage", "stopped") != "stopped":
                self._stop_flow(flow["_id"])
            for cid in _bound(flow, account_id):
                self._bind(flow["_id"], cid, None, [Where(f"accounts.{cid}", "eq", account_id)])
        self._documents.delete("accounts", account_id)

    def flows_using(self, user_id: str, account_id: str) -> list[Doc]:
        """→ [{flowId, name}]."""
        self._owned(user_id, account_id)
        flows = self._flows_using(user_id, account_id)
        return [{"flowId": flow["_id"], "name": flow.get("name", "")} for flow in flows]

    # -- bindings

    def bind(self, user_id: str, component_id: str, account_id: str) -> None:
        """Let a saved step use an account, in each of the user's flows that has it.

        Raises NotFound (account; component in none of the user's flows), BadRequest (the step needs
        another service's account).
        """
        account = self._owned(user_id, account_id)
        flows = self._flows_with(user_id, component_id)
        wrong = {flow["_id"]: misfit(self._service_of(flow["flow"][component_id]), account) for flow in flows}
        fitting = [flow_id for flow_id, reason in wrong.items() if reason is None]
        if not fitting:
            raise BadRequest(str(next(iter(wrong.values()))))
        there = [Where(f"flow.{component_id}", "exists", True)]
        done = [self._bind(flow_id, component_id, account_id, there) for flow_id in fitting]
        if not any(done):
            raise NotFound(NO_COMPONENT)

    def unbind(self, user_id: str, component_id: str) -> None:
        for flow in self._flows_with(user_id, component_id):
            self._bind(flow["_id"], component_id, None, [])

    def of_flow(self, flow: Mapping[str, Any]) -> dict[str, str | None]:
        """{component id: account id or None} of each step of a flow record that needs or has an account."""
        bound = flow.get("accounts") or {}
        steps = flow.get("flow") or {}
        return {cid: bound.get(cid) for cid, step in steps.items() if cid in bound or self._service_of(step)}

    def resolve(self, account_id: str, user_id: str) -> dict[str, Any]:
        """What an account adds to `context.auth` of a step (engine.md §3): its fields, `profileInfo` and `userId`.

        Raises StepError when the user has no such account, it was revoked, or its password is no longer taken.
        """
        doc = self._documents.get("accounts", account_id)
        if doc is None or doc["userId"] != user_id:
            raise StepError("the account of this step is gone; choose another one", code="401", retryable=False)
        if doc.get("revoked"):
            raise StepError(f"account {doc['name']!r} was revoked; connect it again", code="401", retryable=False)
        token = self._fresh(doc, self._vault.open(doc["token"]))
        profile = doc.get("profileInfo") or {}
        return {**token, "profileInfo": profile, "userId": user_id}

    # -- inside

    def _fresh(self, doc: Doc, token: dict[str, Any]) -> dict[str, Any]:
        """The token, renewed with name and password shortly before it ends (engine.md §7, pwd)."""
        now = self._clock.now()
        module = self._catalogue.auth(doc["service"])
        if (
            module is None
            or module.type != "pwd"
            or not token.get("expires")
            or token["expires"] - RENEW_BEFORE_MS > now
        ):
            return token
        try:
            renewed = auth_modules.validate(module, self._context(module, token, doc.get("profileInfo") or {}), now)
        except BadRequest as error:
            raise StepError(error.message, code="401", retryable=False) from error
        token = {**token, **renewed}
        same = [Where("token", "eq", doc["token"])]
        self._documents.update("accounts", doc["_id"], {"token": self._vault.seal(token)}, same)
        return token

    def _module(self, service: Any) -> AuthModule:
        known = isinstance(service, str) and SERVICE.fullmatch(service)
        module = self._catalogue.auth(service) if known else None
        if module is None:
            raise BadRequest(
                f'service: no connector offers accounts of {service!r}; it must look like "vendor:service"'
            )
        return module

    def _context(self, module: AuthModule, token: Mapping[str, Any], profile: Mapping[str, Any]) -> AuthContext:
        config = self._service_config(module.service)
        return AuthContext(auth={**config, **token}, config=config, profile_info=profile, http=self._http)

    def _service_of(self, step: Any) -> str | None:
        component = self._catalogue.get(step["type"]) if isinstance(step, Mapping) and "type" in step else None
        return component.manifest.auth_service if component else None

    def _named(self, user_id: str, service: str, display_name: str) -> Doc | None:
        where = (Where("userId", "eq", user_id), Where("service", "eq", service))
        same = Query(where=(*where, Where("displayName", "eq", display_name)), limit=1)
        return next(iter(self._documents.find("accounts", same)), None)

    def _flows_with(self, user_id: str, component_id: str) -> list[Doc]:
        """At least one: component ids are chosen by clients, so several flows may have the same."""
        if not component_id or "." in component_id:
            raise NotFound(NO_COMPONENT)
        mine = (Where("userId", "eq", user_id), Where(f"flow.{component_id}", "exists", True))
        found = self._documents.find("flows", Query(where=mine))
        if not found:
            raise NotFound(NO_COMPONENT)
        return found

    def _flows_using(self, user_id: str, account_id: str) -> list[Doc]:
        query = Query(where=(Where("userId", "eq", user_id),), include=("name", "stage", "accounts"))
        return [flow for flow in self._documents.find("flows", query) if _bound(flow, account_id)]

    def _bind(self, flow_id: str, component_id: str, account_id: str | None, expect: list[Where]) -> bool:
        done = self._documents.update("flows", flow_id, {f"accounts.{component_id}": account_id}, expect)
        self._cache.publish("flow-changed", flow_id)
        return done

    def _owned(self, user_id: str, account_id: str) -> Doc:
        doc = self._documents.get("accounts", account_id)
        if doc is None or doc["userId"] != user_id:
            raise NotFound(f"there is no account {account_id!r}; see GET /accounts")
        return doc


def misfit(wanted: str | None, account: Mapping[str, Any]) -> str | None:
    """Why a step that needs an account of the service `wanted`, or of none, cannot use this one."""
    if wanted in (None, account["service"]):
        return None
    return f"this step needs an account of {wanted}, not of {account['service']}"


def _bound(flow: Doc, account_id: str) -> list[str]:
    return [cid for cid, bound in (flow.get("accounts") or {}).items() if bound == account_id]


def _json(doc: Doc, apps: Mapping[str, Mapping[str, Any]]) -> Doc:
    app = apps.get(doc["service"].replace(":", "."), {})
    return {
        "accountId": doc["_id"],
        "name": doc["name"],
        "displayName": doc.get("displayName"),
        "service": doc["service"],
        "userId": doc["userId"],
        "profileInfo": doc.get("profileInfo") or {},
        "icon": app.get("icon"),
        "label": app.get("label"),
        "revoked": bool(doc.get("revoked")),
    }


def _text(value: Any, field: str) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > MAX_NAME:
        raise BadRequest(f"{field}: must be a text of at most {MAX_NAME} characters")
    return value.strip() or None


def _object(value: Any, field: str) -> Mapping[str, Any]:
    """An object, or its JSON text as Terraform sends it (rest-api.md §5)."""
    if isinstance(value, str) and value:
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise BadRequest(f"{field}: must be an object, or its JSON text") from error
    if value is None or value == "":
        return {}
    if not isinstance(value, dict):
        raise BadRequest(f"{field}: must be an object")
    return value
