"""State and gathers of the recorders, in memory, with the promises of engine.sdk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from tests.connectors.world import World


def copy(value: Any) -> Any:
    """A deep copy by way of JSON, so a test fails when something is not JSON (NaN included)."""
    if _has_nan(value):
        raise AssertionError(f"NaN or an infinity is not JSON: {value!r}")
    try:
        return orjson.loads(
            orjson.dumps(value, option=orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS)
        )
    except TypeError as error:
        raise AssertionError(f"not JSON: {value!r} ({error})") from error


def _has_nan(value: Any) -> bool:
    if isinstance(value, float):
        return value != value or value in (float("inf"), float("-inf"))
    if isinstance(value, Mapping):
        return any(_has_nan(v) for v in value.values())
    return isinstance(value, list | tuple) and any(_has_nan(v) for v in value)


@dataclass
class Group:
    """One gather: items by the id of the message that brought them, and who fired or took."""

    items: dict[str, Any] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    fired_by: str | None = None
    taken_by: dict[str, list[Any]] = field(default_factory=dict)


class FakeState:
    """A `StateView`: a change made again by the same message returns its first result."""

    def __init__(self, world: World, owner: str, next_op: Callable[[], str]) -> None:
        self._world = world
        self._owner = owner
        self._next_op = next_op

    @property
    def _values(self) -> dict[str, Any]:
        return self._world.states.setdefault(self._owner, {})

    def _once(self, change: Callable[[dict[str, Any]], Any]) -> Any:
        op = f"{self._owner}:{self._next_op()}"
        results = self._world.results
        if op not in results:
            results[op] = change(self._values)
        return results[op]

    def load(self) -> dict[str, Any]:
        return copy(self._values)  # type: ignore[no-any-return]

    def save(self, values: Mapping[str, Any]) -> None:
        kept = copy(values)

        def change(state: dict[str, Any]) -> None:
            state.clear()
            state.update(kept)

        self._once(change)

    def get(self, key: str, default: Any = None) -> Any:
        return copy(self._values.get(key, default))

    def set(self, key: str, value: Any) -> None:
        kept = copy(value)
        self._once(lambda state: state.__setitem__(key, kept))

    def unset(self, key: str) -> None:
        self._once(lambda state: state.pop(key, None))

    def clear(self) -> None:
        self._once(lambda state: state.clear())

    def inc(self, key: str, by: float = 1, *, return_original: bool = False) -> Any:
        def change(state: dict[str, Any]) -> Any:
            state[key] = state.get(key, 0) + by
            return state[key]

        result = self._once(change)
        return result - by if return_original else result

    def add_to_set(self, key: str, value: Any) -> bool:
        def change(state: dict[str, Any]) -> bool:
            members = state.setdefault(key, [])
            if value in members:
                return False
            members.append(copy(value))
            return True

        return bool(self._once(change))

    def remove_from_set(self, key: str, value: Any) -> bool:
        def change(state: dict[str, Any]) -> bool:
            members = state.setdefault(key, [])
            if value not in members:
                return False
            members.remove(value)
            return True

        return bool(self._once(change))


class FakeGather:
    """A `Gather`: one item a message, one taker, the same answer again to the same message."""

    def __init__(self, group: Group, message_id: str) -> None:
        self._message = message_id
        self._group = group

    def add(self, value: Any) -> None:
        if self._message not in self._group.seen:
            self._group.seen.add(self._message)
            self._group.items[self._message] = copy(value)

    def count(self) -> int:
        return len(self._group.items)

    def items(self) -> list[Any]:
        return [copy(v) for v in self._group.items.values()]

    def fire(self) -> bool:
        self._group.fired_by = self._group.fired_by or self._message
        return self._group.fired_by == self._message

    @property
    def fired(self) -> bool:
        return self._group.fired_by is not None

    def take(self, minimum: int = 0) -> list[Any] | None:
        if self._message in self._group.taken_by:
            return self._group.taken_by[self._message]
        if len(self._group.items) < minimum:
            return None
        taken = self.items()
        self._group.items.clear()
        self._group.taken_by[self._message] = taken
        return taken

    def clear(self) -> None:
        self._group.items.clear()
        self._group.fired_by = None
