"""How the SQLite run log keeps its promises: indexes used, searches bounded, faults named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.adapters.embedded import log_read, logindex
from engine.adapters.embedded.log_month import LogMonth
from engine.adapters.embedded.log_query import compile_query
from engine.adapters.embedded.logindex import SqliteLogIndex
from engine.errors import TimedOut, Unavailable
from engine.model.log import LogQuery
from engine.model.message import new_id
from engine.model.times import from_iso
from engine.ports import Doc

START = from_iso("2026-03-01T00:00:00Z")


def records(count: int, **changes: Any) -> list[Doc]:
    return [
        {
            "id": f"r{number:07d}",
            "created": START + number // 3,  # ties
            "flowId": f"f{number % 2}",
            "severity": "error" if number % 100 == 0 else "info",
            "correlationId": f"c{number // 5}",
            "msg": '{"word":"common"}',
            **changes,
        }
        for number in range(count)
    ]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[SqliteLogIndex]:
    index = SqliteLogIndex(tmp_path)
    yield index
    index.close()


def plan(index: SqliteLogIndex, tmp_path: Path, where: str, order: str) -> str:
    with LogMonth(tmp_path, "202603").reading() as connection:
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN SELECT * FROM log WHERE {where} ORDER BY {order}")
        return " / ".join(row[3] for row in rows)


@pytest.mark.parametrize(
    ("where", "order", "used"),
    [
        ("log.\"flowId\" = 'f1'", "log.created DESC, log.id DESC", "log_flow (flowId=?)"),
        ("log.\"flowId\" = 'f1' AND " + compile_query("severity:error").sql, "log.created, log.id", "log_errors"),
        (compile_query("correlationId:c1").sql.replace("?", "'c1'"), "log.created", "log_correlation"),
        (compile_query("_id:r1").sql.replace("?", "'r1'"), "log.created", "log_id"),
        (compile_query("severity:error").sql, "log.created", "log_errors"),
        ("1", "log.created DESC, log.id DESC", "log_created"),
    ],
)
def test_common_questions_use_an_index(
    index: SqliteLogIndex, tmp_path: Path, where: str, order: str, used: str
) -> None:
    index.append(records(10))
    assert used in plan(index, tmp_path, where, order)


@pytest.mark.parametrize("flows", [None, ("f0",), ("f0", "f1")])
@pytest.mark.parametrize("query", ["", "common", "NOT severity:error"])
@pytest.mark.parametrize("direction", [1, -1])
def test_walking_in_time_order_finds_what_sorting_finds(
    index: SqliteLogIndex,
    monkeypatch: pytest.MonkeyPatch,
    flows: tuple[str, ...] | None,
    query: str,
    direction: int,
) -> None:
    """With many matches the page comes from another plan; it must be the same page."""
    index.append(records(300))
    asked = LogQuery(query, flow_ids=flows, sort=(("created", direction),), size=20, offset=5)
    sorted_page = index.search(asked).hits
    for module in (log_read, logindex):
        monkeypatch.setattr(module, "COUNTED", 10)
    walked_page = index.search(asked)
    assert walked_page.hits == sorted_page
    assert len(sorted_page) == 20
    assert index.search(LogQuery(query, flow_ids=flows, buckets=False)).total == 10


def test_a_search_that_takes_too_long_is_given_up(index: SqliteLogIndex, tmp_path: Path) -> None:
    index.append(records(1))
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with (
        pytest.raises(TimedOut, match="narrow it"),
        LogMonth(tmp_path, "202603").reading(0.01) as connection,
    ):
        connection.exec_driver_sql(endless).all()


def test_a_page_comes_without_a_histogram_that_takes_too_long(
    index: SqliteLogIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.append(records(30_000))
    monkeypatch.setattr(log_read, "HISTOGRAM_SECONDS", 0.0)
    page = index.search(LogQuery())
    assert page.buckets == []
    assert len(page.hits) == 50


def test_a_damaged_month_is_named_and_can_be_removed(index: SqliteLogIndex, tmp_path: Path) -> None:
    (tmp_path / "log-202602.db").write_bytes(b"not a database at all, but long enough to look" * 100)
    index.close()
    index = SqliteLogIndex(tmp_path)
    with pytest.raises(Unavailable, match=r"log-202602\.db"):
        index.search(LogQuery())
    index.append(records(2))
    assert len(index.search(LogQuery("created:>=2026-03")).hits) == 2
    index.delete(before_ms=START)
    assert len(index.search(LogQuery()).hits) == 2
    index.close()


def test_a_file_cut_off_while_being_made_is_an_empty_month(index: SqliteLogIndex, tmp_path: Path) -> None:
    (tmp_path / "log-202603.db").touch()
    index = SqliteLogIndex(tmp_path)
    assert index.search(LogQuery()).total == 0
    index.append(records(2))
    assert index.search(LogQuery()).total == 2
    index.close()


def test_months_outside_the_time_asked_for_are_not_opened(index: SqliteLogIndex, tmp_path: Path) -> None:
    (tmp_path / "log-202602.db").write_bytes(b"would be an error" * 100)
    index = SqliteLogIndex(tmp_path)
    index.append(records(60))
    assert index.search(LogQuery("gridTimestamp:[2026-03-01 TO *] AND common", size=5)).total == 60
    index.close()


def test_ids_of_counted_deliveries_do_not_pile_up(index: SqliteLogIndex, tmp_path: Path) -> None:
    day = 86_400_000

    def delivery(at: int) -> Doc:
        id_ = new_id(at)
        place = {"id": f"{id_}.0.r", "created": at, "type": "delivery", "flowId": "f", "correlationId": id_}
        return {**place, "run": 1, "revision": 1, "delta": 0, "steps": 1}

    index.append([delivery(START + n * day) for n in range(20) for _ in range(50)])
    index.delete(before_ms=START + 15 * day)
    with LogMonth(tmp_path, "202603").reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM counted").scalar_one() == 5 * 50
        assert connection.exec_driver_sql("SELECT count(*) FROM execution").scalar_one() == 5 * 50


@pytest.mark.parametrize(
    ("where", "order", "used"),
    [
        ("status = 'failed' AND status <> 'succeeded'", "started DESC", "execution_other (status=?)"),
        ("\"flowId\" = 'f'", "started DESC", "execution_flow (flowId=?)"),
        ("\"flowId\" = 'f' AND status = 'failed' AND status <> 'succeeded'", "started", "execution_other"),
        ("status = 'waiting' AND last >= 1", "last", "execution_waiting (last>?)"),
        ("\"correlationId\" = 'x'", "started", "execution_id (correlationId=?)"),
        ("1", "started DESC", "execution_started"),
    ],
)
def test_lists_of_executions_use_an_index(
    index: SqliteLogIndex, tmp_path: Path, where: str, order: str, used: str
) -> None:
    index.append(records(10))
    with LogMonth(tmp_path, "202603").reading() as connection:
        sql = f"EXPLAIN QUERY PLAN SELECT * FROM execution WHERE {where} ORDER BY {order}"
        assert used in " / ".join(row[3] for row in connection.exec_driver_sql(sql))


def test_only_what_is_asked_for_is_read(index: SqliteLogIndex) -> None:
    index.append(records(3))
    (hit,) = index.search(LogQuery(includes=("componentId", "flowId"), size=1)).hits
    assert set(hit) == {"_id", "_index", "sort", "flowId"}
    assert log_read.columns(("id", "flowId")).count("log.") == 3
    assert "log.extra" in log_read.columns(("flowId", "duration"))
    assert log_read.columns(("flow*",)) == log_read.columns(())
