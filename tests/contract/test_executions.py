"""What every LogIndex must do with accounting records (engine/ports, design.md §4 "Executions")."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import BadRequest
from engine.model.execution import ExecutionQuery, ExecutionRow
from engine.model.log import LogQuery
from engine.model.message import first_id
from engine.model.times import from_iso
from engine.ports import Doc, LogIndex
from tests.contract.conftest import LogIndexes

MARCH = from_iso("2026-03-15T12:00:00Z")
END_OF_MARCH = from_iso("2026-03-31T23:59:59.999Z")
DAY = 86_400_000
RUN = 1_790_000_000_000


def made(name: str, at: int = MARCH) -> str:
    """A correlation id."""
    return first_id(at, name)


def delivery(name: str, kind: str = "d", at: int = MARCH, **changes: Any) -> Doc:
    """One accounting record of the execution called `name`, which began at `begun`."""
    begun = changes.pop("begun", MARCH)
    return {
        "id": f"{name}.{changes.pop('message', '1')}.0.{kind}",
        "created": at,
        "type": "delivery",
        "flowId": "f1",
        "correlationId": made(name, begun),
        "run": RUN,
        "revision": 3,
        "trigger": None,
        "delta": 0,
        "steps": 0,
        **changes,
    }


def stop(at: int = MARCH) -> Doc:
    return {
        "id": f"stop{at}",
        "created": at,
        "type": "flow-stopped",
        "flowId": "f1",
        "run": RUN,
        "reason": "it stopped",
    }


def line(name: str, n: int = 1, at: int = MARCH, **changes: Any) -> Doc:
    return {
        "id": f"{name}-{n}", "created": at, "type": "data", "severity": "info", "flowId": "f1",
        "correlationId": made(name), "componentId": "c1", "portType": "in", "port": "in", "msg": "{}", **changes,
    }  # fmt: skip


def the(index: LogIndex, name: str, begun: int = MARCH) -> ExecutionRow:
    (row,) = index.execution(made(name, begun))
    return row


def names(index: LogIndex, known: str = "abcdefghij", **query: Any) -> str:
    ids = {made(name): name for name in known}
    return "".join(ids[row.correlation_id] for row in index.executions(ExecutionQuery(**query)))


# -- sums


def test_one_record_that_tells_it_all(index: LogIndex) -> None:
    index.append([delivery("a", "r", trigger="hook", steps=3)])
    assert the(index, "a") == ExecutionRow(
        correlation_id=made("a"),
        flow_id="f1",
        run=RUN,
        revision=3,
        trigger="hook",
        status="succeeded",
        started=MARCH,
        last=MARCH,
        steps=3,
        errors=0,
        failed_at=None,
        reason=None,
        replay_of=None,
    )
    assert not the(index, "a").is_open
    assert index.execution("nothing") == []


def test_it_runs_until_all_its_messages_are_consumed(index: LogIndex) -> None:
    index.append([delivery("a", "p", trigger="hook", delta=1)])
    assert the(index, "a").status == "running"
    index.append([delivery("a", "d", MARCH + 10, delta=1, steps=1)])
    index.append([delivery("a", "d", MARCH + 30, message="2", delta=-1, steps=2)])
    assert the(index, "a").status == "running"
    index.append([delivery("a", "d", MARCH + 20, message="3", delta=-1, steps=1)])
    row = the(index, "a")
    assert (row.status, row.steps, row.started, row.last) == ("succeeded", 4, MARCH, MARCH + 30)
    assert row.trigger == "hook"


def test_records_appended_again_count_once(index: LogIndex) -> None:
    batch = [delivery("a", "p", delta=1), delivery("a", "d", steps=2, delta=-1), delivery("b", "r", steps=1)]
    index.append(batch)
    index.append([*batch[1:], delivery("a", "p", message="2", delta=1), delivery("a", "p", message="2", delta=1)])
    assert (the(index, "a").steps, the(index, "a").status) == (2, "running")
    assert the(index, "b").steps == 1
    index.append([*batch, delivery("a", message="2", delta=-1, steps=1)])
    assert (the(index, "a").steps, the(index, "a").status) == (3, "succeeded")


def test_accounting_records_are_not_in_the_log(index: LogIndex) -> None:
    index.append([delivery("a", "r"), line("a"), stop()])
    assert [hit["_id"] for hit in index.search(LogQuery()).hits] == ["a-1"]


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_any_order_in_any_batches_and_again_gives_the_same(index: LogIndex, seed: int) -> None:
    chance = random.Random(seed)
    name = f"n{seed}"
    records = [delivery(name, "p", trigger="hook", delta=1)]
    for n in range(20):
        more = {"errors": 1, "failedAt": "c"} if n == 7 else {}
        records.append(delivery(name, "d", MARCH + n, message=str(n), delta=-1 if n else 18, steps=1, **more))
    shuffled = [*records, *chance.sample(records, 8)]
    chance.shuffle(shuffled)
    while shuffled:
        size = chance.randint(1, 6)
        index.append(shuffled[:size])
        shuffled = shuffled[size:]
    row = the(index, name)
    assert (row.status, row.steps, row.errors, row.failed_at) == ("succeeded", 20, 1, "c")
    assert (row.trigger, row.started, row.last) == ("hook", MARCH, MARCH + 19)


def test_an_execution_has_one_row_whatever_months_it_goes_on_in(index: LogIndex) -> None:
    begun = END_OF_MARCH - 5
    index.append([delivery("a", "p", END_OF_MARCH, delta=1, begun=begun)])
    index.append([delivery("a", "d", END_OF_MARCH + 40 * DAY, delta=-1, steps=1, begun=begun)])
    row = the(index, "a", begun)
    assert (row.status, row.started, row.last) == ("succeeded", END_OF_MARCH, END_OF_MARCH + 40 * DAY)
    assert len(index.executions(ExecutionQuery())) == 1


@pytest.mark.parametrize("correlation_id", ["from a caller", "ffffffff-ffff-7000-9000-000000000000", "é" * 300])
def test_any_text_may_be_a_correlation_id(index: LogIndex, correlation_id: str) -> None:
    index.append([{**delivery("a", "p", delta=1), "correlationId": correlation_id}])
    index.append([{**delivery("a", "d", delta=-1, steps=1), "correlationId": correlation_id}])
    (row,) = index.execution(correlation_id)
    assert (row.status, row.steps) == ("succeeded", 1)


def test_flows_that_share_a_correlation_id_do_not_meddle(index: LogIndex) -> None:
    index.append([delivery("a", "r", steps=1), delivery("a", "x", flowId="f2", delta=1, unprocessed=1)])
    rows = {row.flow_id: row for row in index.execution(made("a"))}
    assert (rows["f1"].status, rows["f2"].status) == ("succeeded", "running")


# -- how it ended


def test_failed_means_that_a_message_was_given_up(index: LogIndex) -> None:
    index.append([delivery("a", "p", delta=1), delivery("a", "d", delta=-1, errors=1, failedAt="c1", waits=1)])
    assert the(index, "a").status == "waiting"  # for another try
    index.append([delivery("a", "t1", MARCH + 5, delta=1), delivery("a", "d1", MARCH + 5, delta=-1, errors=1)])
    index.append([delivery("a", "d2", MARCH + 6, unprocessed=1, failedAt="c2")])
    index.conclude([the(index, "a")])
    row = the(index, "a")
    assert (row.status, row.errors, row.failed_at) == ("failed", 2, "c2")
    index.append([delivery("a", "p2", MARCH + 9, delta=1, unprocessed=-1)])
    assert the(index, "a").status == "running"
    index.append([delivery("a", "d3", MARCH + 9, delta=-1, steps=1)])
    assert the(index, "a").status == "succeeded"


def test_errors_that_were_overcome_do_not_fail_it(index: LogIndex) -> None:
    index.append([delivery("a", "r", steps=2, errors=1, failedAt="c1")])
    assert the(index, "a").status == "succeeded"
    assert the(index, "a").errors == 1


def test_a_reason_cancels_what_is_open(index: LogIndex) -> None:
    index.append([delivery("a", "p", delta=1), delivery("b", "r")])
    index.append([delivery("a", "c", MARCH + 1, cancelled="by ann"), delivery("b", "c", cancelled="too late")])
    row = the(index, "a")
    assert (row.status, row.reason, row.last) == ("cancelled", "by ann", MARCH + 1)
    assert (the(index, "b").status, the(index, "b").reason) == ("succeeded", None)
    index.append([delivery("a", "d", MARCH + 2, delta=-1, unprocessed=1, cancelled="execution cancelled")])
    assert (the(index, "a").status, the(index, "a").reason) == ("cancelled", "by ann")


def test_a_stop_cancels_what_is_open_of_its_run_and_of_earlier_ones(index: LogIndex) -> None:
    later = RUN + 1000
    index.append(
        [
            delivery("a", "p", delta=1),
            delivery("b", "r"),
            delivery("c", "r", waits=1),
            delivery("d", "p", delta=1, flowId="f2"),
            delivery("e", "p", delta=1, run=later),
            delivery("f", "r", unprocessed=1),
            delivery("g", "p", END_OF_MARCH - 50 * DAY, delta=1, begun=END_OF_MARCH - 50 * DAY),
        ]
    )
    index.append([stop(MARCH + 5)])
    status = {name: the(index, name).status for name in "abcdef"}
    assert status == {
        "a": "cancelled", "b": "succeeded", "c": "cancelled", "d": "running", "e": "running", "f": "failed",
    }  # fmt: skip
    assert the(index, "g", END_OF_MARCH - 50 * DAY).status == "cancelled"
    assert (the(index, "a").reason, the(index, "a").last) == ("it stopped", MARCH + 5)
    index.append([stop(MARCH + 5)])  # again, after a crash
    assert the(index, "e").status == "running"


def test_a_later_run_goes_on_with_what_a_stop_had_ended(index: LogIndex) -> None:
    index.append([delivery("a", "p", delta=1), stop(), delivery("a", "s", delta=-1, unprocessed=1, cancelled="stop")])
    assert the(index, "a").status == "cancelled"
    index.append([delivery("a", "p2", MARCH + 9, run=RUN + 1, delta=1, unprocessed=-1)])
    assert (the(index, "a").status, the(index, "a").reason) == ("running", None)
    index.append([delivery("a", "x", MARCH + 9, cancelled="a late record of the earlier run")])
    index.append([delivery("a", "d2", MARCH + 9, run=RUN + 1, delta=-1, steps=1)])
    assert the(index, "a").status == "succeeded"


# -- waiting


def test_what_waits_is_told_and_concluded(index: LogIndex) -> None:
    index.append([delivery("a", "r", MARCH, waits=1), delivery("b", "r", MARCH + 10, waits=1, unprocessed=1)])
    index.append([delivery("c", "p", MARCH + 20, waits=1, delta=1), delivery("d", "r", MARCH + 20)])
    rows = index.waiting(0, 10)
    assert [row.correlation_id for row in rows] == [made("a"), made("b")]
    assert [row.correlation_id for row in index.waiting(MARCH + 1, 10)] == [made("b")]
    assert [row.correlation_id for row in index.waiting(0, 1)] == [made("a")]
    index.conclude(rows)
    assert [the(index, name).status for name in "ab"] == ["succeeded", "failed"]
    assert index.waiting(0, 10) == []


def test_what_went_on_meanwhile_is_not_concluded(index: LogIndex) -> None:
    index.append([delivery("a", "r", waits=1), delivery("b", "r", waits=1)])
    before = index.waiting(0, 10)
    index.append([delivery("a", "t", MARCH + 5, delta=1, waits=1)])
    index.append([delivery("b", "t", MARCH + 5, delta=1), delivery("b", "d", MARCH + 6, delta=-1, waits=1)])
    index.conclude(before)
    assert [the(index, name).status for name in "ab"] == ["running", "waiting"]


# -- lists


SHOP = (
    delivery("a", "r", MARCH + 1, steps=5, trigger="hook"),
    delivery("b", "r", MARCH + 2, steps=1, unprocessed=1, errors=3, failedAt="c9"),
    delivery("c", "p", MARCH + 3, delta=1),
    delivery("d", "r", MARCH + 4, waits=1),
    delivery("e", "r", MARCH + 5, flowId="f2", steps=9),
    delivery("f", "p", MARCH + 6, delta=1, cancelled="no"),
    line("a", msg='{"order":"gift 4711"}'),
    line("b", msg='{"order":"gift 4712"}'),
    line("b", 2, severity="error", err='{"message":"card declined"}'),
    line("e", msg='"gift"', flowId="f2"),
    line("c", flowId="f2", msg='"unicorn"'),
)


@pytest.fixture(scope="module")
def shop(log_indexes: LogIndexes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogIndex]:
    """Only read."""
    index = log_indexes.empty(tmp_path_factory.mktemp("shop"), "shop")
    index.append(SHOP)
    yield index
    index.close()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, "fedcba"),
        ({"flow_ids": ("f1",)}, "fdcba"),
        ({"flow_ids": ("f2", "f3")}, "e"),
        ({"flow_ids": ()}, ""),
        ({"statuses": ("failed",)}, "b"),
        ({"statuses": ("succeeded",)}, "ea"),
        ({"statuses": ("running", "waiting", "cancelled")}, "fdc"),
        ({"statuses": ("succeeded", "failed"), "flow_ids": ("f1",)}, "ba"),
        ({"since": MARCH + 3}, "fedc"),
        ({"since": MARCH + 2, "until": MARCH + 4}, "dcb"),
        ({"correlation_ids": (made("a"), made("c"))}, "ca"),
        ({"text": "gift"}, "eba"),
        ({"text": "gift", "flow_ids": ("f1",)}, "ba"),
        ({"text": "declined"}, "b"),
        ({"text": "severity:error", "since": MARCH + 3}, ""),
        ({"text": "unicorn"}, ""),  # a record of another flow under the same correlation id
        ({"sort": (("started", 1),)}, "abcdef"),
        ({"sort": (("steps", -1), ("started", 1))}, "eabcdf"),
        ({"sort": (("errors", -1),), "limit": 1}, "b"),
        ({"sort": (("status", 1), ("started", 1))}, "fbcaed"),
        ({"sort": (("ended", 1), ("started", 1))}, "cdabef"),
        ({"limit": 2}, "fe"),
        ({"limit": 2, "offset": 1}, "ed"),
        ({"offset": 5}, "a"),
        ({"limit": 0}, ""),
    ],
)
def test_lists(shop: LogIndex, query: dict[str, Any], found: str) -> None:
    assert names(shop, **query) == found
    if not {"limit", "offset"} & query.keys():
        assert shop.count_executions(ExecutionQuery(**query)) == len(found)


def test_pages_hold_together_across_months(index: LogIndex) -> None:
    starts = [MARCH + (n * 37 % 90) * DAY for n in range(30)]
    index.append([delivery(f"n{n}", "r", at, begun=at, steps=n) for n, at in enumerate(starts)])
    seen: list[int] = []
    for page in range(5):
        query = ExecutionQuery(limit=7, offset=7 * page)
        seen += [row.started for row in index.executions(query)]
    assert seen == sorted(starts, reverse=True)
    by_steps = index.executions(ExecutionQuery(sort=(("steps", 1),), limit=12, offset=10))
    assert [row.steps for row in by_steps] == list(range(10, 22))


def test_text_finds_an_execution_by_a_record_of_a_later_month(index: LogIndex) -> None:
    index.append([delivery("a", "r"), line("a", at=MARCH + 40 * DAY, msg='"unicorn"'), line("z", at=MARCH + 40 * DAY)])
    assert names(index, text="unicorn") == "a"


@pytest.mark.parametrize(
    "query", [{"sort": (("msg", 1),)}, {"text": "("}, {"limit": 10_001}, {"limit": -1}, {"sort": (("steps", 1),) * 6}]
)
def test_bad_queries_are_named(index: LogIndex, query: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        index.executions(ExecutionQuery(**query))


def test_deleting_by_flow(index: LogIndex) -> None:
    index.append(SHOP)
    index.delete(flow_ids=("f2",))
    assert names(index) == "fdcba"
    assert index.execution(made("e")) == []


def test_deleting_by_age_keeps_what_still_moves(index: LogIndex) -> None:
    index.append([delivery("a", "r", MARCH), delivery("b", "p", MARCH, delta=1), delivery("c", "r", MARCH + DAY)])
    index.append([delivery("b", "d", MARCH + 2 * DAY, delta=-1)])
    index.delete(before_ms=MARCH + DAY)
    assert names(index) == "cb"
    index.append([delivery("c", "r", MARCH + DAY), delivery("b", "d", MARCH + 2 * DAY, delta=-1)])  # known still
    assert (the(index, "b").status, the(index, "c").status) == ("succeeded", "succeeded")
    index.delete(before_ms=MARCH + 60 * DAY)
    assert names(index) == ""
