"""`sdk.Stores` for one call of a component: the stores of the flow's owner."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.services.store_watchers import EVENTS

if TYPE_CHECKING:
    from engine.services.stores import StoreService


@dataclass(frozen=True, slots=True)
class StoreView:
    """`operation` names each change, the same again when its message is redelivered (design.md §4.6)."""

    _stores: StoreService
    _user_id: str
    _flow_id: str
    _component_id: str
    _operation: Callable[[], str]

    def get(self, store_id: str, key: str) -> dict[str, Any] | None:
        return self._stores.get(self._user_id, store_id, key)

    def set(self, store_id: str, key: str, value: Any) -> dict[str, Any]:
        return self._stores.set(self._user_id, store_id, key, value, op_id=self._operation())

    def modify(self, store_id: str, key: str, change: Callable[[Any], Any]) -> dict[str, Any]:
        return self._stores.modify(self._user_id, store_id, key, change, op_id=self._operation())

    def remove(self, store_id: str, key: str) -> dict[str, Any]:
        return self._stores.remove(self._user_id, store_id, key)

    def clear(self, store_id: str) -> int:
        return self._stores.clear(self._user_id, store_id)

    def find(
        self, store_id: str, *, pattern: str | None = None, query: Mapping[str, Any] | None = None,
        sort: str | None = None, limit: int | None = None, offset: int = 0,
    ) -> builtins.list[dict[str, Any]]:  # fmt: skip
        return self._stores.find(
            self._user_id, store_id, pattern=pattern, query=query, sort=sort, limit=limit, offset=offset
        )

    def create(self, name: str) -> str:
        return self._stores.create(self._user_id, name)

    def list(self) -> builtins.list[dict[str, Any]]:
        return self._stores.find_stores(self._user_id)

    def register_webhook(self, store_id: str, events: Iterable[str] = EVENTS) -> None:
        self._stores.register_webhook(self._user_id, store_id, self._flow_id, self._component_id, events)

    def unregister_webhook(self, store_id: str) -> None:
        self._stores.unregister_webhook(store_id, self._component_id)
