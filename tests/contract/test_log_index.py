"""What every LogIndex must do (engine/ports, rest-api.md §7)."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine.errors import BadRequest
from engine.model.log import LogQuery
from engine.model.times import from_iso
from engine.ports import Doc, LogIndex
from tests.contract.conftest import LogIndexes

MARCH = from_iso("2026-03-15T12:00:00Z")
DAY = 86_400_000
RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def record(number: int = 1, **changes: Any) -> Doc:
    return {
        "id": f"0190-{number:08d}",
        "created": MARCH + number,
        "severity": "info",
        "type": "data",
        "componentType": "acme.shop.core.Double",
        "componentId": "c1",
        "portType": "in",
        "port": "in",
        "senderId": "c0",
        "senderType": "acme.shop.core.Hook",
        "correlationId": f"pass-{number:016d}",
        "flowId": "f1",
        "entity": "input-queue",
        "msg": "{}",
        **changes,
    }


def ids(index: LogIndex, query: str = "", **options: Any) -> list[str]:
    """Ids of the hits, oldest first."""
    options.setdefault("sort", (("gridTimestamp", 1),))
    return [hit["_id"].removeprefix("0190-").lstrip("0") for hit in index.search(LogQuery(query, **options)).hits]


# -- records in and out


def test_a_hit_is_the_record_flattened(index: LogIndex) -> None:
    source = record(7, userId="u1", runId=1_760_000_000_000, bundleId="acme.shop", err='{"message":"no"}', note=[1])
    index.append([source])
    (hit,) = index.search(LogQuery()).hits
    assert hit == {
        **source,
        "_id": source["id"],
        "_index": "flow-202603",
        "gridTimestamp": "2026-03-15T12:00:00.007Z",
        "@timestamp": "2026-03-15T12:00:00.007Z",
        "@version": "1",
        "sort": [source["created"], source["id"]],
    }
    hit.pop("sort")
    assert index.get(source["id"]) == hit


def test_an_unknown_id_is_none(index: LogIndex) -> None:
    assert index.get("absent") is None
    index.append([record()])
    assert index.get("absent") is None


def test_a_record_delivered_again_is_stored_once(index: LogIndex) -> None:
    index.append([record(1, msg='"unicorn"'), record(1, msg='"unicorn"'), record(2, msg='"unicorn"')])
    index.append([record(2, msg='"unicorn"'), record(3, msg='"unicorn"')])
    assert ids(index) == ["1", "2", "3"]
    assert ids(index, "unicorn") == ["1", "2", "3"]
    assert index.search(LogQuery("unicorn")).total == 3


def test_many_records_in_one_batch(index: LogIndex) -> None:
    index.append([record(number, msg=f'"word{number}"') for number in range(1, 1500)])
    assert index.search(LogQuery()).total == 1499
    assert ids(index, "word1234") == ["1234"]


def test_contents_that_cannot_be_stored_do_not_hold_up_the_others(index: LogIndex) -> None:
    index.append([record(1), record(2, msg={"an": "object"}), record(3, msg="half \ud800 pair"), record(4)])
    assert ids(index) == ["1", "2", "3", "4"]
    assert ids(index, "object") == ["2"]


def test_records_survive_reopening(index: LogIndex, log_indexes: LogIndexes, tmp_path: Path) -> None:
    index.append([record(1), record(2, created=MARCH + 40 * DAY)])
    index.close()
    again = log_indexes.open(tmp_path)
    assert ids(again) == ["1", "2"]
    again.append([record(3)])
    assert ids(again) == ["1", "3", "2"]
    again.close()


# -- the query language


SHOP = (
    record(1, msg='{"orderId":4711,"note":"gift wrapped"}', userId="u1"),
    record(2, msg='{"orderId":4712,"note":"wrapped gift"}', portType="out", port="out", attempt=2),
    record(3, severity="error", err='{"message":"Card declined"}', attempt=10, flags={"late": True}),
    record(4, flowId="f2", componentType="acme.mail.core.Send", msg='"Přání & díky"', tags=["vip", "new"]),
    record(5, msg='"100% sure_thing"', created=MARCH + 20 * DAY, correlationId="pass-0000000000000004"),
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
        ("", "12345"),
        ("*", "12345"),
        ("gift", "12"),
        ("GIFT", "12"),
        ('"gift wrapped"', "1"),
        ("gift declined", "123"),
        ("gift AND 4712", "2"),
        ("+gift +4712", "2"),
        ("+gift declined", "12"),
        ("gift -4712", "1"),
        ("NOT gift", "345"),
        ("-gift", "345"),
        ("gift AND NOT 4712", "1"),
        ("(declined OR sure) AND note", ""),
        ("(declined OR 4711) AND (note OR card)", "13"),
        ("declined OR 4711 OR sure", "135"),
        ("decl*", "3"),
        ("ord*", "12"),
        ("*rder*", "12"),
        ("g?ft", "12"),
        ("prani diky", "4"),
        ("&", "4"),
        ('"%"', "5"),
        ('"sure_thing"', "5"),
        ("sure\\_thing", "5"),
        ("Send", "4"),
        ("severity:error", "3"),
        ("severity:ERROR", "3"),
        ("NOT severity:error", "1245"),
        ("-severity:error", "1245"),
        ("portType:out", "2"),
        ("port:(in OR out) AND gift", "12"),
        ("portType:(out declined)", "2"),
        ("flowId:f2", "4"),
        ("flowId:F2", ""),
        ("componentType:*.mail.*", "4"),
        ("componentType:acme.mail.core.send", "4"),
        ("componentType.keyword:acme.mail.core.Send", "4"),
        ("_id:0190-00000003", "3"),
        ("id:(0190-00000003 OR 0190-00000001)", "13"),
        ("correlationId:pass-0000000000000004", "45"),
        ("pass-0000000000000004", "45"),
        ("msg:gift", "12"),
        ("err:gift", ""),
        ("err:declined", "3"),
        ("msg:4711*", "1"),
        ("_exists_:err", "3"),
        ("_exists_:userId", "1"),
        ("_exists_:attempt", "23"),
        ("NOT _exists_:attempt", "145"),
        ("_exists_:created", "12345"),
        ("err:*", "3"),
        ("attempt:2", "2"),
        ("attempt:>2", "3"),
        ("attempt:[2 TO 10]", "23"),
        ("attempt:[2 TO 10}", "2"),
        ("tags:vip", "4"),
        ("tags:v*", "4"),
        ("flags.late:true", "3"),
        ("nothing:here", ""),
        ("gridTimestamp:2026-03-15", "1234"),
        ("gridTimestamp:[2026-03-15 TO 2026-03-15]", "1234"),
        ("gridTimestamp:{2026-03-15 TO *]", "5"),
        ("gridTimestamp:[2026-03-15 TO 2026-04-04}", "1234"),
        ("gridTimestamp:[2026-03 TO 2026-04]", "12345"),
        ("@timestamp:>2026-03-16", "5"),
        ("@timestamp:>=2026-03-15T12:00:00.003Z", "345"),
        ('@timestamp:<"2026-03-15T13:00:00.003+01:00"', "12"),
        ("@timestamp:<=2026-03-15T12:00:00", "1234"),
        (f"created:{MARCH + 2}", "2"),
        (f"created:[{MARCH + 2} TO {MARCH + 3}]", "23"),
        (f"created:{{{MARCH + 2} TO {MARCH + 4}}}", "3"),
        ("created:[* TO *]", "12345"),
        ("created:[2026-04 TO *] OR gift", "125"),
        ("NOT created:[2026-04 TO *]", "1234"),
        ("port:[i TO io]", "1345"),
        ("gift^2", "12"),
    ],
)
def test_query(shop: LogIndex, query: str, found: str) -> None:
    assert "".join(ids(shop, query)) == found


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("severity:", "unexpected end"),
        ("(a OR", "unexpected end"),
        ("a)", "position 1"),
        ('"open', "position 0"),
        ("AND", "AND"),
        ("gift~2", "fuzzy"),
        ('"gift wrapped"~2', "proximity"),
        ("/gi.t/", "regular expression"),
        ("[a TO b]", "needs a field"),
        ("gridTimestamp:yesterday", "yesterday"),
        ("gridTimestamp:[2026-13-01 TO *]", "2026-13-01"),
        ("gridTimestamp:2026*", "range"),
        ("created:99999999999999999999", "99999999999999999999"),
        ("_exists_:(a OR b)", "_exists_"),
        ('a"b:c', '"'),
        ("a..b:c", "a..b"),
        ("\0", "NUL"),
        ("\ud800", "surrogate"),
        ("(" * 60 + "a" + ")" * 60, "deeper"),
        ("(" * 5000 + "a" + ")" * 5000, "deeper"),
        ("a " * 300, "256"),
        ("a" * 20_001, "20000"),
    ],
)
def test_bad_query(shop: LogIndex, query: str, problem: str) -> None:
    with pytest.raises(BadRequest) as caught:
        shop.search(LogQuery(query))
    assert problem in caught.value.message


_WORDS = st.sampled_from(
    (
        *("gift", "AND", "OR", "NOT", "TO", "+", "-", "(", ")", "[", "]", "{", "}", ":", '"', "~", "^", "*", "?"),
        *("\\", "/", ">", "<=", "msg:", "created:", "gridTimestamp:[", "_exists_:", "attempt:", "tags.x:", "''", "%"),
        *("_", "2026", "é"),
    )
)


@RELAXED
@given(st.one_of(st.lists(_WORDS, max_size=12).map(" ".join), st.lists(_WORDS, max_size=8).map("".join), st.text()))
@example("a:b:c")
@example("__proto__:x OR \\")
@example('msg:"\\""')
@example("\\*")
@example("~")
@example("a~1.2.3")
@example("a^1.2.3")
def test_any_query_gives_a_page_or_a_bad_request(shop: LogIndex, query: str) -> None:
    try:
        page = shop.search(LogQuery(query))
    except BadRequest:
        return
    assert len(page.hits) == page.total <= 5


@RELAXED
@given(st.text(min_size=1, max_size=40).filter(lambda text: "\0" not in text and any(c.isalnum() for c in text)))
def test_any_text_is_found_by_quoting_it(index: LogIndex, text: str) -> None:
    number = sum(1 for _ in index.search(LogQuery(size=10_000)).hits) + 1
    index.append([record(number, msg=text)])
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    assert str(number) in ids(index, f'"{quoted}"', size=10_000)


# -- scope, order, pages


def test_only_the_flows_and_port_types_asked_for(shop: LogIndex) -> None:
    assert ids(shop, flow_ids=("f1",)) == ["1", "2", "3", "5"]
    assert ids(shop, flow_ids=("f1", "f2")) == ["1", "2", "3", "4", "5"]
    assert ids(shop, flow_ids=()) == []
    assert ids(shop, "flowId:f2 OR gift", flow_ids=("f1",)) == ["1", "2"]
    assert ids(shop, port_types=("out",)) == ["2"]
    assert ids(shop, port_types=("out", "in"), flow_ids=("f2",)) == ["4"]


def test_newest_first_unless_told(shop: LogIndex) -> None:
    assert [hit["created"] - MARCH for hit in shop.search(LogQuery()).hits] == [20 * DAY, 4, 3, 2, 1]
    assert ids(shop, sort=(("@timestamp", -1),), size=2, offset=1) == ["4", "3"]


def test_sort_by_several_fields(shop: LogIndex) -> None:
    assert ids(shop, sort=(("severity", 1), ("portType", -1), ("created", -1))) == ["3", "2", "5", "4", "1"]
    assert ids(shop, sort=(("attempt", -1), ("_id", -1))) == ["2", "3", "5", "4", "1"]


def test_includes_and_excludes(shop: LogIndex) -> None:
    (hit,) = shop.search(LogQuery("4711", includes=("msg", "component*"))).hits
    assert set(hit) == {"msg", "componentId", "componentType", "_id", "_index", "sort"}
    (hit,) = shop.search(LogQuery("4711", excludes=("msg", "component*"))).hits
    assert not {"msg", "componentId"} & set(hit)
    assert {"flowId", "gridTimestamp"} <= set(hit)


@pytest.mark.parametrize(
    "options",
    [
        {"size": -1},
        {"offset": -1},
        {"size": 10_001},
        {"offset": 9_999, "size": 2},
        {"search_after": (1,), "offset": 1},
        {"search_after": (1, "a", "b")},
        {"search_after": ("noon",)},
        {"sort": (("port", 1), ("type", 1)), "search_after": ("in",)},
        {"sort": (("port", 1),) * 6},
        {"sort": (('a"b', 1),)},
    ],
)
def test_bad_paging(shop: LogIndex, options: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        shop.search(LogQuery(**options))


def test_search_after_with_the_sort_values_only(shop: LogIndex) -> None:
    assert ids(shop, search_after=(MARCH + 2,)) == ["3", "4", "5"]
    assert ids(shop, search_after=(str(MARCH + 2),)) == ["3", "4", "5"]
    assert ids(shop, search_after=("2026-03-15T12:00:00.002Z",)) == ["3", "4", "5"]
    assert ids(shop, search_after=(MARCH + 2,), sort=(("created", -1),)) == ["1"]


_FIELDS = st.sampled_from(["gridTimestamp", "severity", "port", "attempt", "msg", "userId"])
_SORTS = st.lists(st.tuples(_FIELDS, st.sampled_from([1, -1])), min_size=1, max_size=3)
_RECORDS = st.lists(
    st.fixed_dictionaries(
        {"created": st.sampled_from([MARCH, MARCH + 1, MARCH + 20 * DAY, MARCH + 50 * DAY])},
        optional={
            "severity": st.sampled_from(["info", "error"]),
            "port": st.sampled_from(["in", "IN", "ä", "\U0001f600", "\uffff"]),
            "attempt": st.sampled_from([2, 10, None, "x", [1], 1.5]),
            "userId": st.sampled_from(["u1", None]),
            "msg": st.sampled_from(["gift", "other"]),
        },
    ),
    max_size=25,
)


def test_paging_visits_every_record_once_and_in_order(index: LogIndex, log_indexes: LogIndexes) -> None:
    examples = count()

    # each request of a server takes its time
    @settings(deadline=None, max_examples=100 if log_indexes.kind == "embedded" else 20)
    @given(_RECORDS, _SORTS, st.integers(1, 7), st.booleans())
    def check(changes: list[Doc], sort: list[tuple[str, int]], size: int, as_text: bool) -> None:
        flow = f"f{next(examples)}"
        records = [
            record(number, **change, flowId=flow, id=f"{flow}-{number:08d}") for number, change in enumerate(changes)
        ]
        index.append(records)
        ask = partial(LogQuery, flow_ids=(flow,), sort=tuple(sort))
        whole = [hit["_id"] for hit in index.search(ask(size=1000)).hits]
        assert sorted(whole) == sorted(record["id"] for record in records)
        seen: list[str] = []
        after: tuple[Any, ...] = ()
        while page := index.search(ask(size=size, search_after=after)).hits:
            seen += [hit["_id"] for hit in page]
            after = tuple(str(value) if as_text else value for value in page[-1]["sort"])  # REST hands over text
        assert seen == whole
        stepped = [index.search(ask(size=1, offset=at)).hits[0]["_id"] for at in range(len(whole))]
        assert stepped == whole

    check()


# -- histogram and totals


def test_buckets_cover_the_range_found(shop: LogIndex) -> None:
    page = shop.search(LogQuery("gift OR declined", size=0))
    assert page.hits == []
    assert page.buckets == [{"key_as_string": "2026-03-15T12:00:00.000Z", "key": MARCH, "doc_count": 3}]
    page = shop.search(LogQuery())
    assert page.total == 5
    counts = [bucket["doc_count"] for bucket in page.buckets]
    assert (counts[0], counts[-1], sum(counts)) == (4, 1, 5)
    steps = {b["key"] - a["key"] for a, b in zip(page.buckets, page.buckets[1:], strict=False)}
    assert steps == {DAY / 2}
    assert 10 < len(counts) <= 61


def test_buckets_do_not_depend_on_the_page(shop: LogIndex) -> None:
    first = shop.search(LogQuery(size=1))
    rest = shop.search(LogQuery(size=1, search_after=tuple(first.hits[0]["sort"])))
    assert rest.buckets == first.buckets
    assert rest.total == 5


def test_without_buckets(shop: LogIndex) -> None:
    page = shop.search(LogQuery("gift", buckets=False))
    assert (len(page.hits), page.buckets, page.total) == (2, [], 2)


def test_an_empty_index(index: LogIndex) -> None:
    page = index.search(LogQuery("gift"))
    assert (page.hits, page.buckets, page.total) == ([], [], 0)
    assert index.delete(before_ms=MARCH) == 0
    assert index.delete(flow_ids=["f1"]) == 0


# -- deletion


def test_delete_older_records(index: LogIndex) -> None:
    index.append([record(number, created=MARCH + number * DAY, msg='"unicorn"') for number in range(1, 41)])
    before = index.size()
    assert index.delete(before_ms=MARCH + 19 * DAY) == 18
    assert ids(index, "unicorn") == [str(number) for number in range(19, 41)]
    assert index.size() < before
    assert index.delete(before_ms=MARCH + 19 * DAY) == 0
    index.append([record(1, msg='"unicorn"')])  # a month that went comes back
    assert ids(index, "unicorn")[0] == "1"


def test_delete_flows(index: LogIndex) -> None:
    index.append(SHOP)
    assert index.delete(flow_ids=["f1", "other"]) == 4
    assert ids(index) == ["4"]
    assert ids(index, "gift OR sure") == []
    assert index.delete() == 0
    assert index.delete(flow_ids=["f2"], before_ms=MARCH) == 0
    assert ids(index) == ["4"]
    index.append([record(1, msg='"gift"')])
    assert ids(index, "gift") == ["1"]


def test_many_records_are_deleted_and_their_words_with_them(index: LogIndex) -> None:
    index.append([record(number, msg='"unicorn"') for number in range(1, 5001)])
    assert index.delete(before_ms=MARCH + 4990) == 4989
    assert index.search(LogQuery("unicorn")).total == 11


def test_reading_while_writing_and_deleting(index: LogIndex, log_indexes: LogIndexes) -> None:
    """Readers see whole pages, or fewer records, but no error, while months come and go."""
    index.append([record(0)])
    failures: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                for hit in index.search(LogQuery("unicorn", size=20)).hits:
                    assert hit["msg"] == '"unicorn"'
                index.get(record(1)["id"])
                index.size()
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for turn in range(15 if log_indexes.kind == "embedded" else 5):  # a server takes its time to make an index
        index.append([record(number, created=MARCH + number * DAY, msg='"unicorn"') for number in range(turn, 60)])
        index.delete(before_ms=MARCH + 45 * DAY)
    done.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert ids(index, "unicorn") == [str(number) for number in range(45, 60)]


def noise(seed: int) -> str:
    """Text that cannot be compressed much."""
    return random.Random(seed).randbytes(1500).hex()


def test_a_log_beyond_its_size_loses_its_oldest_month_first(index: LogIndex) -> None:
    april = MARCH + 30 * DAY
    index.append([record(n, msg=noise(n)) for n in range(500)])
    index.append([record(1000 + n, created=april + n, msg=noise(n)) for n in range(500)])
    assert not index.shrink(100_000_000)
    assert index.shrink(1_500_000)
    left = index.search(LogQuery(sort=(("created", 1),), size=1000)).hits
    assert [hit["_id"] for hit in left] == [f"0190-{1000 + n:08}" for n in range(500)]


def test_a_single_month_is_thinned_out_from_its_oldest_records(index: LogIndex) -> None:
    index.append([record(n, msg=noise(n)) for n in range(1000)])
    assert index.shrink(500_000)
    rounds = 1
    while index.shrink(500_000):
        rounds += 1
        assert rounds < 30
    left = index.search(LogQuery(sort=(("created", 1),), size=1000)).hits
    assert 0 < len(left) < 600
    assert left[-1]["_id"] == "0190-00000999"
    assert [hit["_id"] for hit in left] == sorted(hit["_id"] for hit in left)
    index.append([record(2000, msg="new")])
    assert [hit["_id"] for hit in index.search(LogQuery("new")).hits] == ["0190-00002000"]
