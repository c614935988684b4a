"""State in SQLite: one row per owner and key, and the operations of the last hour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson
import sqlalchemy as sa

from engine.adapters.embedded.database import Database
from engine.errors import BadRequest
from engine.ports import Clock, StateChange, StateVerb

REMEMBER_MS = 3_600_000
PURGE_ROWS = 2_000
PURGE_EVERY_MS = 60_000

_GET = "SELECT value FROM state WHERE owner = ? AND key = ?"
_LOAD = "SELECT key, value FROM state WHERE owner = ?"
_SET = (
    "INSERT INTO state (owner, key, value) VALUES (?, ?, ?) "
    "ON CONFLICT (owner, key) DO UPDATE SET value = excluded.value"
)
_UNSET = "DELETE FROM state WHERE owner = ? AND key = ?"
_CLEAR = "DELETE FROM state WHERE owner = ?"
_SEEN = "SELECT result FROM state_operations WHERE op_id = ? AND owner = ? AND at > ?"
_REMEMBER = "INSERT OR REPLACE INTO state_operations (op_id, owner, result, at) VALUES (?, ?, ?, ?)"
_PURGE = (
    "DELETE FROM state_operations WHERE (op_id, owner) IN "
    "(SELECT op_id, owner FROM state_operations WHERE at <= ? ORDER BY at LIMIT ?)"
)


class SqliteState:
    """`ports.State`. Each operation and its id are committed together."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._purge_at = 0  # only the writer thread reads and sets it
        tables = _tables(database.metadata)
        database.write(lambda connection: database.metadata.create_all(connection, tables))

    def load(self, owner: str) -> dict[str, Any]:
        with self._database.read() as connection:
            rows = connection.exec_driver_sql(_LOAD, (owner,)).all()
        return {key: orjson.loads(value) for key, value in rows}

    def get(self, owner: str, key: str) -> Any:
        with self._database.read() as connection:
            return _current(connection, owner, key)

    def apply(self, owner: str, op_id: str, verb: StateVerb, key: str, value: Any = None) -> Any:
        """Raises BadRequest when `value` is not JSON, or what is stored does not suit the verb."""
        operation = _VERBS[verb]
        now = self._clock.now()

        def work(connection: sa.Connection) -> Any:
            seen = connection.exec_driver_sql(_SEEN, (op_id, owner, now - REMEMBER_MS)).first()
            if seen is not None:
                return orjson.loads(seen[0])
            result = operation(connection, owner, key, value)
            connection.exec_driver_sql(_REMEMBER, (op_id, owner, _text(result, key), now))
            self._purge(connection, now)
            return result

        return self._database.write(work)

    def drop(self, owner: str) -> None:
        """Remove all keys. Operation ids stay their hour: a late redelivery must not fill the state again."""
        self._database.write(lambda connection: connection.exec_driver_sql(_CLEAR, (owner,)))

    def _purge(self, connection: sa.Connection, now: int) -> None:
        """In pieces, so that no commit waits for a long deletion."""
        if now < self._purge_at:
            return
        removed = connection.exec_driver_sql(_PURGE, (now - REMEMBER_MS, PURGE_ROWS)).rowcount
        if removed < PURGE_ROWS:
            self._purge_at = now + PURGE_EVERY_MS


def change(connection: sa.Connection, changes: Sequence[StateChange]) -> None:
    """Changes that are part of a settlement: their redelivery cannot come, so they need no operation id."""
    for c in changes:
        _VERBS[c.verb](connection, c.owner, c.key, c.value)


def _tables(metadata: sa.MetaData) -> list[sa.Table]:
    return [
        sa.Table(
            "state",
            metadata,
            sa.Column("owner", sa.Text, primary_key=True, nullable=False),
            sa.Column("key", sa.Text, primary_key=True, nullable=False),
            sa.Column("value", sa.Text, nullable=False),
            sqlite_with_rowid=False,
        ),
        sa.Table(
            "state_operations",
            metadata,
            # the operation id first: it begins with a time, so the tree grows at its end
            sa.Column("op_id", sa.Text, primary_key=True, nullable=False),
            sa.Column("owner", sa.Text, primary_key=True, nullable=False),
            sa.Column("result", sa.Text, nullable=False),
            sa.Column("at", sa.Integer, nullable=False, index=True),
            sqlite_with_rowid=False,
        ),
    ]


def _text(value: Any, key: str, *, sort: bool = False) -> str:
    options = orjson.OPT_NON_STR_KEYS | (orjson.OPT_SORT_KEYS if sort else 0)
    try:
        return orjson.dumps(value, option=options).decode()
    except TypeError as error:
        raise BadRequest(f"state key {key!r}: the value cannot be stored: {error}") from error


def _current(connection: sa.Connection, owner: str, key: str) -> Any:
    row = connection.exec_driver_sql(_GET, (owner, key)).first()
    return None if row is None else orjson.loads(row[0])


def _put(connection: sa.Connection, owner: str, key: str, value: Any) -> None:
    connection.exec_driver_sql(_SET, (owner, key, _text(value, key)))


def _unset(connection: sa.Connection, owner: str, key: str, _value: Any) -> None:
    connection.exec_driver_sql(_UNSET, (owner, key))


def _clear(connection: sa.Connection, owner: str, _key: str, _value: Any) -> None:
    connection.exec_driver_sql(_CLEAR, (owner,))


def _save(connection: sa.Connection, owner: str, key: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise BadRequest(f"{owner}: the state to save must be an object, not {type(value).__name__}")
    connection.exec_driver_sql(_CLEAR, (owner,))
    for name, item in value.items():
        _put(connection, owner, str(name), item)


def _inc(connection: sa.Connection, owner: str, key: str, value: Any) -> Any:
    by = 1 if value is None else value
    total = _current(connection, owner, key)
    for number in (total, by):
        if isinstance(number, bool) or not isinstance(number, int | float | None):
            raise BadRequest(f"state key {key!r}: only numbers can be added, not {type(number).__name__}")
    total = by if total is None else total + by
    _put(connection, owner, key, total)
    return total


def _add_to_set(connection: sa.Connection, owner: str, key: str, value: Any) -> bool:
    items = _items(connection, owner, key)
    if _sameness(value, key) in {_sameness(item, key) for item in items}:
        return False
    _put(connection, owner, key, [*items, value])
    return True


def _remove_from_set(connection: sa.Connection, owner: str, key: str, value: Any) -> bool:
    items = _items(connection, owner, key)
    unwanted = _sameness(value, key)
    kept = [item for item in items if _sameness(item, key) != unwanted]
    if len(kept) == len(items):
        return False
    _put(connection, owner, key, kept)
    return True


def _items(connection: sa.Connection, owner: str, key: str) -> list[Any]:
    items = _current(connection, owner, key)
    if items is not None and not isinstance(items, list):
        raise BadRequest(f"state key {key!r} holds {type(items).__name__}, not a set")
    return items or []


def _sameness(value: Any, key: str) -> str:
    """JSON equality: the order of an object's keys does not matter, and true is not 1."""
    return _text(value, key, sort=True)


_VERBS: dict[StateVerb, Callable[[sa.Connection, str, str, Any], Any]] = {
    "set": _put,
    "unset": _unset,
    "inc": _inc,
    "add_to_set": _add_to_set,
    "remove_from_set": _remove_from_set,
    "clear": _clear,
    "save": _save,
}
