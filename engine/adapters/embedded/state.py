"""State in SQLite: one row per owner and key, and the operations of the last hour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import sqlalchemy as sa

from engine.adapters.embedded.database import Database
from engine.adapters.embedded.operations import Operations
from engine.adapters.state_verbs import VERBS, as_json
from engine.ports import Clock, StateChange, StateVerb

_GET = "SELECT value FROM state WHERE owner = ? AND key = ?"
_LOAD = "SELECT key, value FROM state WHERE owner = ?"
_SET = (
    "INSERT INTO state (owner, key, value) VALUES (?, ?, ?) "
    "ON CONFLICT (owner, key) DO UPDATE SET value = excluded.value"
)
_UNSET = "DELETE FROM state WHERE owner = ? AND key = ?"
_CLEAR = "DELETE FROM state WHERE owner = ?"


class SqliteState:
    """`ports.State`. Each operation and its id are committed together."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._operations = Operations(database.metadata)
        tables = [_table(database.metadata), self._operations.table]
        database.write(lambda connection: database.metadata.create_all(connection, tables))

    def load(self, owner: str) -> dict[str, Any]:
        with self._database.read() as connection:
            rows = connection.exec_driver_sql(_LOAD, (owner,)).all()
        return {key: orjson.loads(value) for key, value in rows}

    def get(self, owner: str, key: str) -> Any:
        with self._database.read() as connection:
            return _Rows(connection).get(owner, key)

    def apply(self, owner: str, op_id: str, verb: StateVerb, key: str, value: Any = None) -> Any:
        """Raises BadRequest when `value` is not JSON, or what is stored does not suit the verb."""
        operation = VERBS[verb]
        now = self._clock.now()

        def work(connection: sa.Connection) -> Any:
            seen = self._operations.seen(connection, op_id, owner, now)
            if seen is not None:
                return orjson.loads(seen)
            result = operation(_Rows(connection), owner, key, value)
            self._operations.remember(connection, op_id, owner, as_json(result, key), now)
            return result

        return self._database.write(work)

    def drop(self, owner: str) -> None:
        """Remove all keys. Operation ids stay their hour: a late redelivery must not fill the state again."""
        self._database.write(lambda connection: connection.exec_driver_sql(_CLEAR, (owner,)))


def change(connection: sa.Connection, changes: Sequence[StateChange]) -> None:
    """Changes that are part of a settlement: their redelivery cannot come, so they need no operation id."""
    for c in changes:
        VERBS[c.verb](_Rows(connection), c.owner, c.key, c.value)


def _table(metadata: sa.MetaData) -> sa.Table:
    return sa.Table(
        "state",
        metadata,
        sa.Column("owner", sa.Text, primary_key=True, nullable=False),
        sa.Column("key", sa.Text, primary_key=True, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )


class _Rows:
    """`state_verbs.Cells`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._execute = connection.exec_driver_sql

    def get(self, owner: str, key: str) -> Any:
        row = self._execute(_GET, (owner, key)).first()
        return None if row is None else orjson.loads(row[0])

    def put(self, owner: str, key: str, value: Any) -> None:
        self._execute(_SET, (owner, key, as_json(value, key)))

    def remove(self, owner: str, key: str) -> None:
        self._execute(_UNSET, (owner, key))

    def clear(self, owner: str) -> None:
        self._execute(_CLEAR, (owner,))
