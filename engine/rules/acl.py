"""Who may do what with whose things. Pure decisions; services ask, templates never do (design.md §7).

A flow belongs to one user and may be shared with an e-mail address, an e-mail domain or a
scope, each with permissions (rest-api.md §3). A stranger learns nothing, not even that the
thing exists (404); somebody who may see it but not do this is told so (403).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.errors import BadRequest, Forbidden, NotFound

ADMIN = "admin"
PERMISSIONS = ("read", "start", "stop")
GRANTEES = ("email", "domain", "scope")
ALL = frozenset((*PERMISSIONS, "write"))
"""What owners and administrators may do; `write` (change, delete, clone out) is never shared."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A signed-in user, as far as decisions go. `email` is lower-case."""

    user_id: str
    username: str
    email: str
    scope: frozenset[str]

    @property
    def admin(self) -> bool:
        return ADMIN in self.scope

    @property
    def domain(self) -> str:
        return self.email.rpartition("@")[2] if "@" in self.email else ""


def require_admin(caller: Caller) -> None:
    """Raises Forbidden."""
    if not caller.admin:
        raise Forbidden("only an administrator may do this")


def owns(record: Mapping[str, Any], caller: Caller) -> bool:
    """Whether a record with a `userId` is the caller's, or the caller is an administrator."""
    return caller.admin or record.get("userId") == caller.user_id


def granted_by(share: Mapping[str, Any], caller: Caller) -> bool:
    """Whether one entry of `sharedWith` means the caller."""
    if share.get("email"):
        return bool(caller.email) and str(share["email"]).lower() == caller.email
    if share.get("domain"):
        return bool(caller.domain) and str(share["domain"]).lower() == caller.domain
    return share.get("scope") in caller.scope


def permissions(flow: Mapping[str, Any], caller: Caller) -> frozenset[str]:
    """What the caller may do with a flow; empty for a stranger."""
    if owns(flow, caller):
        return ALL
    shares = [share for share in flow.get("sharedWith") or () if granted_by(share, caller)]
    return frozenset(p for share in shares for p in share.get("permissions") or () if p in PERMISSIONS)


def require(flow: Mapping[str, Any] | None, caller: Caller, permission: str, flow_id: str) -> Mapping[str, Any]:
    """The flow, if the caller may. Raises NotFound for a stranger, Forbidden for a lesser permission."""
    allowed = permissions(flow, caller) if flow is not None else frozenset()
    if flow is None or not allowed:
        raise NotFound(f"there is no flow {flow_id}", code="FLOW_NOT_FOUND")
    if permission not in allowed:
        action = {"write": "change", "read": "see"}.get(permission, permission)
        raise Forbidden(f"flow {flow_id} is shared with you, but not for you to {action} it")
    return flow


def visible_shares(flow: Mapping[str, Any], caller: Caller) -> list[dict[str, Any]]:
    """The owner sees the whole list, a recipient only what is meant for them (rest-api.md §3)."""
    shares = [dict(share) for share in flow.get("sharedWith") or ()]
    return shares if owns(flow, caller) else [share for share in shares if granted_by(share, caller)]


def check_shares(shares: Any) -> list[dict[str, Any]]:
    """A list for `sharedWith` in its stored form. Raises BadRequest naming every wrong entry."""
    if not isinstance(shares, list):
        raise BadRequest("sharedWith must be a list")
    problems: list[dict[str, str]] = []
    stored = []
    for index, share in enumerate(shares):
        if problem := _share_problem(share):
            problems.append({"path": f"sharedWith[{index}]", "message": problem})
            continue
        grantee = next(kind for kind in GRANTEES if share.get(kind))
        name = share[grantee] if grantee == "scope" else share[grantee].strip().lower()
        stored.append({grantee: name, "permissions": list(dict.fromkeys(share["permissions"]))})
    if problems:
        raise BadRequest(f"{problems[0]['path']}: {problems[0]['message']}", details=problems)
    return stored


def _share_problem(share: Any) -> str | None:
    if not isinstance(share, Mapping):
        return "must be an object"
    named = [kind for kind in GRANTEES if share.get(kind)]
    if len(named) != 1 or not isinstance(share[named[0]], str):
        return f"must name exactly one of {', '.join(GRANTEES)}"
    given = share.get("permissions")
    if not isinstance(given, list) or not given or not all(p in PERMISSIONS for p in given):
        return f"permissions must be a list of {', '.join(PERMISSIONS)}"
    return None
