"""What the verbs of `ports.State` do, whatever holds the keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import orjson

from engine.errors import BadRequest
from engine.ports import StateVerb


class Cells(Protocol):
    """Keys and values of owners. `put` raises BadRequest for what is not JSON."""

    def get(self, owner: str, key: str) -> Any: ...
    def put(self, owner: str, key: str, value: Any) -> None: ...
    def remove(self, owner: str, key: str) -> None: ...
    def clear(self, owner: str) -> None: ...


def _set(cells: Cells, owner: str, key: str, value: Any) -> None:
    cells.put(owner, key, value)


def _unset(cells: Cells, owner: str, key: str, _value: Any) -> None:
    cells.remove(owner, key)


def _clear(cells: Cells, owner: str, _key: str, _value: Any) -> None:
    cells.clear(owner)


def _save(cells: Cells, owner: str, _key: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise BadRequest(f"{owner}: the state to save must be an object, not {type(value).__name__}")
    cells.clear(owner)
    for name, item in value.items():
        cells.put(owner, str(name), item)


def _inc(cells: Cells, owner: str, key: str, value: Any) -> Any:
    by = 1 if value is None else value
    total = cells.get(owner, key)
    for number in (total, by):
        if isinstance(number, bool) or not isinstance(number, int | float | None):
            raise BadRequest(f"state key {key!r}: only numbers can be added, not {type(number).__name__}")
    total = by if total is None else total + by
    cells.put(owner, key, total)
    return total


def _add_to_set(cells: Cells, owner: str, key: str, value: Any) -> bool:
    items = _items(cells, owner, key)
    if _sameness(value, key) in {_sameness(item, key) for item in items}:
        return False
    cells.put(owner, key, [*items, value])
    return True


def _remove_from_set(cells: Cells, owner: str, key: str, value: Any) -> bool:
    items = _items(cells, owner, key)
    unwanted = _sameness(value, key)
    kept = [item for item in items if _sameness(item, key) != unwanted]
    if len(kept) == len(items):
        return False
    cells.put(owner, key, kept)
    return True


def _items(cells: Cells, owner: str, key: str) -> list[Any]:
    items = cells.get(owner, key)
    if items is not None and not isinstance(items, list):
        raise BadRequest(f"state key {key!r} holds {type(items).__name__}, not a set")
    return items or []


def _sameness(value: Any, key: str) -> str:
    """JSON equality: the order of an object's keys does not matter, and true is not 1."""
    return as_json(value, key, sort=True)


def as_json(value: Any, key: str, *, sort: bool = False) -> str:
    """JSON text of a value; keys that are numbers become texts. Raises BadRequest naming the key of the state."""
    options = orjson.OPT_NON_STR_KEYS | (orjson.OPT_SORT_KEYS if sort else 0)
    try:
        return orjson.dumps(value, option=options).decode()
    except TypeError as error:
        raise BadRequest(f"state key {key!r}: the value cannot be stored: {error}") from error


VERBS: dict[StateVerb, Callable[[Cells, str, str, Any], Any]] = {
    "set": _set,
    "unset": _unset,
    "clear": _clear,
    "save": _save,
    "inc": _inc,
    "add_to_set": _add_to_set,
    "remove_from_set": _remove_from_set,
}
