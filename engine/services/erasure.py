"""Deleting a user with everything that is theirs (rest-api.md §2)."""

from __future__ import annotations

import logging
from typing import Any

from engine.errors import BadRequest, NotFound, Unavailable
from engine.model.message import new_id
from engine.ports import Cache, Documents, Files, Query, Where
from engine.rules.acl import Caller
from engine.services.flows import Flows

log = logging.getLogger(__name__)

OWNED = ("accounts", "stores", "store_entries", "unprocessed", "listeners")
KEPT_FOR = 24 * 3600.0


class Erasure:
    def __init__(self, *, documents: Documents, files: Files, cache: Cache, flows: Flows) -> None:
        self._documents = documents
        self._files = files
        self._cache = cache
        self._flows = flows

    def erase(self, user_id: str, by: Caller) -> str:
        """Lock the user, stop and delete their flows, delete their data. Returns a ticket for `status`.

        The user's own record goes last: after a failure the same call goes on where it stopped.
        Raises NotFound; BadRequest when administrators would delete themselves.
        """
        if user_id == by.user_id:
            raise BadRequest("you cannot delete yourself: another administrator must")
        if not self._documents.update("users", user_id, {"isActive": False}):
            raise NotFound(f"there is no user {user_id}", code="USER_NOT_FOUND")
        flows = self._documents.find("flows", Query(where=_theirs(user_id), include=("_id",)))
        for flow in flows:
            self._flows.delete(flow["_id"], by)
        for file in self._files.find(Query(where=(Where("metadata.userId", "eq", user_id),))):
            self._files.delete(file.file_id)
        for collection in OWNED:
            self._documents.delete_many(collection, _theirs(user_id))
        self._documents.delete("users", user_id)
        ticket = new_id()
        steps = len(flows) + len(OWNED) + 2
        done = {"status": "completed", "stepsDone": steps, "stepsTotal": steps}
        try:
            self._cache.set(_key(ticket), done, KEPT_FOR)
        except Unavailable as error:  # it is done all the same
            log.warning("a deletion is not remembered: %s", error, extra={"action": "erasure_forgotten"})
        return ticket

    def status(self, ticket: str) -> dict[str, Any]:
        """`{status, stepsDone, stepsTotal}`. Raises NotFound for an unknown ticket or after a day."""
        found = self._cache.get(_key(ticket))
        if found is None:
            raise NotFound(f"there is no deletion {ticket}; it is remembered for a day")
        return dict(found)


def _theirs(user_id: str) -> tuple[Where, ...]:
    return (Where("userId", "eq", user_id),)


def _key(ticket: str) -> str:
    return f"erasure:{ticket}"
