"""The database is locked by another program, or its file is damaged."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from pathlib import Path

from tests.integration.faults.conftest import Shop, until


def test_a_locked_database(shop: Shop) -> None:
    shop.open()
    assert shop.order("before").status == 200
    other = sqlite3.connect(shop.folder / "data" / "headrace.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    shop.refused(shop.order("during"))
    assert any("locked" in reason for reason in until(lambda: shop.health()[1], "a word in /health"))
    shop.refused(shop.order("still"))
    other.execute("ROLLBACK")
    other.close()
    until(shop.well, "recovery without any traffic")
    assert shop.order("after").status == 200
    assert shop.stored() == shop.accepted


def prints(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.db")}


def test_a_damaged_file_stops_the_start_and_stays_as_it_is(shop: Shop) -> None:
    shop.open()
    for n in range(50):
        assert shop.order(f"o{n}").status == 200
    assert shop.stop() == 0
    data = shop.folder / "data"
    database, [log] = data / "headrace.db", data.glob("log-??????.db")
    size = database.stat().st_size
    for path, offset, length in (
        (database, 0, 100),  # the head
        (database, 8192, 40_000),  # pages
        (database, size // 2, 0),  # cut off
        (log, 0, 100),
    ):
        whole = path.read_bytes()
        with path.open("r+b") as target:
            target.seek(offset)
            target.write(b"\xa5" * length) if length else target.truncate()
        before = prints(data)
        output = shop.start_fails()
        assert f"{path.name}: the database file is damaged" in output
        assert "backup" in output
        assert prints(data) == before
        path.write_bytes(whole)
        (shop.folder / "server.log").unlink()
    shop.start()
    assert shop.stored() == shop.accepted


def test_a_file_damaged_while_it_is_used(shop: Shop) -> None:
    shop.open()
    for n in range(50):
        assert shop.order(f"o{n}").status == 200
    path = shop.folder / "data" / "headrace.db"
    with sqlite3.connect(path) as other:  # everything into the file, so that it is read from there
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other.close()
    whole = path.read_bytes()
    with path.open("r+b") as target:
        target.seek(4096)
        target.write(b"\xa5" * (len(whole) - 4096))
    accepted = set(shop.accepted)
    until(lambda: shop.order("during").status == 503, "a refusal")
    assert any("damaged" in reason for reason in until(lambda: shop.health()[1], "a word in /health"))
    shop.refused(shop.order("still"))
    shop.kill()
    path.write_bytes(whole)  # the backup
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    shop.start()
    assert accepted <= shop.stored()


def test_a_start_waits_until_the_database_is_free(shop: Shop) -> None:
    shop.open()
    assert shop.order("before").status == 200
    assert shop.stop() == 0
    other = sqlite3.connect(shop.folder / "data" / "headrace.db", isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    starting = threading.Thread(target=shop.start, daemon=True)
    starting.start()
    until(lambda: "locked by another program; trying again" in shop.output, "a word about it")
    other.execute("ROLLBACK")
    other.close()
    starting.join(60)
    assert shop.order("after").status == 200
    assert shop.stored() == shop.accepted
