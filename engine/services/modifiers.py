"""The set of modifiers in force: the built-in one, or what an administrator put in its place (rest-api.md §8)."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

from engine.errors import BadRequest, StepError
from engine.ports import NOTICES_LOST, Cache, Doc, Documents
from engine.values.javascript import call_helper
from engine.values.registry import Registry, builtin_registry, from_json

CHANGED = "modifiers-changed"
"""Cache channel: another set is in force."""

KEY = "modifiers"
MAX_SOURCE = 100_000


class Modifiers:
    """A flow that is compiled from now on takes the new set; plans already compiled keep theirs."""

    def __init__(self, *, documents: Documents, cache: Cache) -> None:
        self._documents = documents
        self._cache = cache
        self._lock = Lock()
        self._registry: Registry | None = None
        self._read: Doc | None = None
        cache.subscribe(CHANGED, self._forget)
        cache.subscribe(NOTICES_LOST, self._compare)

    def registry(self) -> Registry:
        """Read once, then again after a change."""
        with self._lock:
            if self._registry is None:
                self._read = self._documents.get("modifiers", KEY)
                self._registry = from_json(self._read["set"]) if self._read else builtin_registry()
            return self._registry

    def _forget(self, _text: str) -> None:
        with self._lock:
            self._registry = None

    def _compare(self, _text: str) -> None:
        """A change may have been missed."""
        if self._registry is not None and self._documents.get("modifiers", KEY) != self._read:
            self._cache.publish(CHANGED, "")

    def to_json(self) -> Doc:
        """→ {categories, modifiers}."""
        return self.registry().to_json()

    def replace(self, given: Any) -> Doc:
        """Put a whole new set in force. → that set. Raises BadRequest naming every wrong place."""
        from_json(given)
        self._documents.put("modifiers", {"_id": KEY, "set": given})
        self._cache.publish(CHANGED, "")
        return self.to_json()

    def reset(self) -> None:
        """Back to the built-in set."""
        self._documents.delete("modifiers", KEY)
        self._cache.publish(CHANGED, "")

    def test(self, source: str, arguments: Sequence[Any]) -> Any:
        """What the JavaScript function `source` returns. Raises BadRequest with what it did wrong."""
        if not source.strip() or len(source) > MAX_SOURCE:
            raise BadRequest(f"helperFn: must be the source of a JavaScript function, at most {MAX_SOURCE} characters")
        try:
            return call_helper(source, tuple(arguments), {}, {})
        except StepError as error:
            raise BadRequest(error.message) from error
