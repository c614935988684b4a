"""The same query finds the same records in every run log."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import BadRequest
from engine.model.log import LogQuery
from engine.ports import LogIndex
from tests.contract.conftest import LogIndexes
from tests.contract.test_log_index import MARCH, SHOP, record

RECORDS = (
    *SHOP,
    record(6, msg='{"url":"https://acme.example/a?b=1","at":"2026-03-15"}', port="out", attempt=-1.5, type=""),
    record(7, msg="Straße ÅNGSTRÖM 4711 gift_wrapped", severity="warning", componentId="C1", runId="r7"),
    record(8, msg="", err="", attempt="2", tags="VIP", flags={"late": False, "by": {"who": "ann"}}),
    record(9, msg="orders 12 ordering", runId=1_760_000_000_000, attempt=1e12, tags=["new", 5, None]),
)

WORDS = [
    *("gift", "GIFT", "wrapped", "4711", "orderId", "declined", "prani", "Přání", "strasse", "straße", "angstrom"),
    *(
        '"gift wrapped"',
        '"wrapped gift"',
        '"a b"',
        '"acme example"',
        "sure_thing",
        "ord*",
        "wrap*",
        "order*",
        "acme.s*",
    ),
    *("*rder*", "*ift", "g?ft", "ordering", "&", '"%"', "Send", "Double", "acme", "pass-0000000000000004", "f1"),
    *("0190-00000003", "https", "c1"),
]
FIELDS = [
    *(
        "severity:error",
        "severity:err*",
        "port:out",
        "port:o*",
        "port:OUT",
        "componentId:c1",
        "componentId:C*",
        "type:data",
    ),
    *("flowId:f2", "userId:u1", "runId:r7", "runId:1760000000000", "runId:[1750000000000 TO *]", "port:[a TO k]"),
    *(
        "componentType:*.mail.*",
        "componentType:{acme.m TO *]",
        "id:0190-0000000?",
        "_id:0190-00000003",
        "port:[1 TO 5]",
    ),
    *(
        "attempt:2",
        "attempt:[2 TO 10]",
        "attempt:>2",
        "attempt:<0",
        "attempt:{2 TO 10}",
        "attempt:1*",
        "attempt:[a TO z]",
    ),
    *(
        "tags:vip",
        "tags:v*",
        "tags:new",
        "tags:5",
        "tags:[a TO m]",
        "flags.late:true",
        "flags.late:false",
        "flags:false",
    ),
    *("flags.by.who:ann", "flags.by.who:a*", "flags:*", "_exists_:tags", "_exists_:flags.by", "_exists_:attempt"),
    *(
        "_exists_:err",
        "_exists_:userId",
        "_exists_:msg",
        "err:*",
        "msg:gift",
        "err:card",
        "note:x",
        "entity:input-queue",
    ),
    *(f"created:{MARCH + 2}", f"created:[{MARCH + 2} TO {MARCH + 4}]", "created:>2026-03-16", "gridTimestamp:2026-03"),
]
TERM = st.sampled_from(WORDS + FIELDS)
QUERY = st.recursive(
    TERM,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" AND ", " OR ", " ", " AND NOT "]), inner).map(lambda t: f"({''.join(t)})"),
        inner.map(lambda text: f"(NOT {text})"),
        st.tuples(st.sampled_from(["+", "-"]), TERM, inner).map(lambda t: f"({t[0]}{t[1]} {t[2]})"),
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LogIndex, LogIndex]]:
    folder = tmp_path_factory.mktemp("parity")
    one, other = (LogIndexes(kind).empty(folder, "parity") for kind in ("embedded", "elastic"))
    for index in (one, other):
        index.append(RECORDS)
    yield one, other
    one.close()
    other.close()


def found(index: LogIndex, query: str) -> list[str] | str:
    try:
        page = index.search(LogQuery(query, sort=(("created", 1),)))
    except BadRequest as error:
        return error.message
    assert page.total == len(page.hits)
    return [hit["_id"] for hit in page.hits]


@pytest.mark.parametrize("query", WORDS + FIELDS)
def test_each_kind_of_condition(pair: tuple[LogIndex, LogIndex], query: str) -> None:
    assert found(pair[1], query) == found(pair[0], query)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(QUERY)
def test_any_query_of_them(pair: tuple[LogIndex, LogIndex], query: str) -> None:
    assert found(pair[1], query) == found(pair[0], query)


def test_records_come_back_alike(pair: tuple[LogIndex, LogIndex]) -> None:
    for sort in ((("gridTimestamp", -1),), (("severity", 1), ("type", -1)), (("attempt", 1),), (("msg", -1),)):
        one, other = (index.search(LogQuery(sort=sort)) for index in pair)
        assert other.hits == one.hits
        assert other.buckets == one.buckets
