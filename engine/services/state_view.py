"""`sdk.StateView` over the State port: adds the operation id to every change."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from engine.ports import State, StateChange, StateVerb


def component_owner(flow_id: str, component_id: str) -> str:
    """Component ids are unique by convention only: a flow imported twice has them twice."""
    return f"component:{flow_id}:{component_id}"


def flow_owner(flow_id: str) -> str:
    return f"flow:{flow_id}"


class OwnedState:
    """State of one owner. A `set` or `save` is counted as the same operation only with the same value:
    a retry that has learnt something new may store it."""

    def __init__(self, state: State, owner: str, operation: Callable[..., str]) -> None:
        self._state = state
        self._owner = owner
        self._operation = operation

    def load(self) -> dict[str, Any]:
        return self._state.load(self._owner)

    def save(self, values: Mapping[str, Any]) -> None:
        self._state.apply(self._owner, self._operation("save", _digest(values)), "save", "", dict(values))

    def get(self, key: str, default: Any = None) -> Any:
        value = self._state.get(self._owner, key)
        return default if value is None else value

    def set(self, key: str, value: Any) -> None:
        self._state.apply(self._owner, self._operation("set", key, _digest(value)), "set", key, value)

    def unset(self, key: str) -> None:
        self._state.apply(self._owner, self._operation("unset", key), "unset", key)

    def clear(self) -> None:
        self._state.apply(self._owner, self._operation("clear"), "clear", "")

    def inc(self, key: str, by: float = 1, *, return_original: bool = False) -> Any:
        value = self._state.apply(self._owner, self._operation("inc", key), "inc", key, by)
        return value - by if return_original else value

    def add_to_set(self, key: str, value: Any) -> bool:
        return bool(self._state.apply(self._owner, self._operation("add", key), "add_to_set", key, value))

    def remove_from_set(self, key: str, value: Any) -> bool:
        return bool(self._state.apply(self._owner, self._operation("remove", key), "remove_from_set", key, value))


class TickState(OwnedState):
    """State while a component ticks: what is set becomes durable together with what the tick sent.

    A polling trigger keeps what it has seen; were that durable first, a crash in between would lose
    the news for good. Counting (`inc`, sets) stays at once, idempotent as everywhere.
    """

    def __init__(self, state: State, owner: str, operation: Callable[..., str], changes: list[StateChange]) -> None:
        super().__init__(state, owner, operation)
        self._changes = changes

    def load(self) -> dict[str, Any]:
        values = super().load()
        for change in self._changes:
            if change.verb == "save":
                values = dict(change.value)
            elif change.verb == "clear":
                values = {}
            elif change.verb == "set":
                values[change.key] = change.value
            else:
                values.pop(change.key, None)
        return values

    def get(self, key: str, default: Any = None) -> Any:
        value = self.load().get(key) if self._changes else self._state.get(self._owner, key)
        return default if value is None else value

    def save(self, values: Mapping[str, Any]) -> None:
        self._later("save", "", dict(values))

    def set(self, key: str, value: Any) -> None:
        self._later("set", key, value)

    def unset(self, key: str) -> None:
        self._later("unset", key)

    def clear(self) -> None:
        self._later("clear", "")

    def _later(self, verb: StateVerb, key: str, value: Any = None) -> None:
        plain = orjson.loads(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS))  # as it is now, whatever follows
        self._changes.append(StateChange(self._owner, verb, key, plain))


def _digest(value: Any) -> str:
    return hashlib.blake2b(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()
