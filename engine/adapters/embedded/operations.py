"""The operations of the last hour, so that a repeated one changes nothing (design.md §4.6)."""

from __future__ import annotations

import sqlalchemy as sa

REMEMBER_MS = 3_600_000
PURGE_ROWS = 2_000
PURGE_EVERY_MS = 60_000

_SEEN = "SELECT result FROM state_operations WHERE op_id = ? AND owner = ? AND at > ?"
_REMEMBER = "INSERT OR REPLACE INTO state_operations (op_id, owner, result, at) VALUES (?, ?, ?, ?)"
_PURGE = (
    "DELETE FROM state_operations WHERE (op_id, owner) IN "
    "(SELECT op_id, owner FROM state_operations WHERE at <= ? ORDER BY at LIMIT ?)"
)


class Operations:
    """Each is remembered in the transaction that carries it out. Owners are those of the state, and "file:<id>"."""

    def __init__(self, metadata: sa.MetaData) -> None:
        self.table = _table(metadata)
        self._purge_at = 0  # only the writer thread reads and sets it

    def seen(self, connection: sa.Connection, op_id: str, owner: str, now: int) -> str | None:
        """The result of an operation of the last hour, as JSON text."""
        row = connection.exec_driver_sql(_SEEN, (op_id, owner, now - REMEMBER_MS)).first()
        return None if row is None else str(row[0])

    def remember(self, connection: sa.Connection, op_id: str, owner: str, result: str, now: int) -> None:
        connection.exec_driver_sql(_REMEMBER, (op_id, owner, result, now))
        self._purge(connection, now)

    def _purge(self, connection: sa.Connection, now: int) -> None:
        """In pieces, so that no commit waits for a long deletion."""
        if now < self._purge_at:
            return
        removed = connection.exec_driver_sql(_PURGE, (now - REMEMBER_MS, PURGE_ROWS)).rowcount
        if removed < PURGE_ROWS:
            self._purge_at = now + PURGE_EVERY_MS


def _table(metadata: sa.MetaData) -> sa.Table:
    """Several adapters of one database use it."""
    if "state_operations" in metadata.tables:
        return metadata.tables["state_operations"]
    return sa.Table(
        "state_operations",
        metadata,
        # the operation id first: it begins with a time, so the tree grows at its end
        sa.Column("op_id", sa.Text, primary_key=True, nullable=False),
        sa.Column("owner", sa.Text, primary_key=True, nullable=False),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("at", sa.Integer, nullable=False, index=True),
        sqlite_with_rowid=False,
    )
