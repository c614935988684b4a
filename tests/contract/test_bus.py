"""Contract of ports.Bus: nothing is lost, nothing is acknowledged early, flows take turns."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from engine.adapters.embedded import bus as embedded_bus
from engine.errors import HeadraceError, Unavailable
from engine.model.message import Message
from engine.ports import Delivery, Settlement, Write
from tests import rabbit_server
from tests.contract.buses import WAIT, Collector, Embedded, Installation, Rabbit, message


@pytest.fixture(params=["embedded", "rabbit"])
def installation(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Installation]:
    opened: Installation
    if request.param == "embedded":
        opened = Embedded(tmp_path, monkeypatch.setattr)
    else:
        url = rabbit_server.shared_url()
        rabbit_server.clear(url)
        opened = Rabbit(url, request.getfixturevalue("mongo")[1])
    yield opened
    opened.close()


def kept(of: Message) -> Write:
    return Write("unprocessed", of.id, {"_id": of.id, "flowId": of.flow_id})


def test_a_message_arrives_as_it_was_published(installation: Installation) -> None:
    collector = Collector()
    installation.bus.consume(collector, 10)
    sent = message(content={"deep": [1, None, "ř"]})
    installation.bus.publish([sent]).result(WAIT)
    assert collector.wait(1)[0].message == sent


def test_unsettled_messages_come_back_after_a_crash_and_settled_ones_do_not(installation: Installation) -> None:
    collector = Collector()
    installation.bus.consume(collector, 10)
    installation.bus.publish([message(content=n) for n in range(3)]).result(WAIT)
    first = collector.wait(3)[0]
    installation.bus.settle(first, Settlement()).result(WAIT)
    installation.crash()
    again = Collector()
    installation.bus.consume(again, 10)
    again.wait(2)
    assert sorted(again.contents()) == sorted(set(range(3)) - {first.message.content})
    assert all(d.redelivered for d in again.got)


def test_a_settlement_is_durable_as_a_whole(installation: Installation) -> None:
    collector = Collector()
    installation.bus.consume(collector, 10)
    installation.bus.publish([message(content="parent")]).result(WAIT)
    parent = collector.wait(1)[0]
    child = message(content="child")
    record = {"id": "r1", "created": 1_790_000_000_000, "flowId": "flow", "msg": "x"}
    timer = Write("timers", "t1", {"_id": "t1", "due": 5})
    installation.bus.settle(parent, Settlement([child], [record], [timer])).result(WAIT)
    installation.crash()
    again = Collector()
    installation.bus.consume(again, 10)
    assert again.wait(1)[0].message == child
    assert installation.documents.get("timers", "t1") == {"_id": "t1", "due": 5}
    batch = installation.bus.take_logs(10, WAIT)
    assert batch is not None
    assert batch.records == [record]


def test_a_failed_settlement_changes_nothing_and_can_be_offered_again(installation: Installation) -> None:
    collector = Collector()
    installation.bus.consume(collector, 10)
    installation.bus.publish([message(content="parent")]).result(WAIT)
    parent = collector.wait(1)[0]
    timer = Write("timers", "t1", {"_id": "t1", "due": 5})
    settlement = Settlement([message(content="child")], [], [timer])
    with installation.no_settling(), pytest.raises(HeadraceError):
        installation.bus.settle(parent, settlement).result(WAIT)
    assert installation.bus.depth("flow") == 1
    installation.bus.settle(parent, settlement).result(WAIT)
    assert collector.wait(2)[1].message.content == "child"
    assert installation.bus.depth("flow") == 1


def test_a_document_that_cannot_be_stored_stores_nothing_else(installation: Installation) -> None:
    bad = Write("timers", "t1", {"_id": "t1", "due": object()})
    with pytest.raises(HeadraceError):
        installation.bus.settle(None, Settlement([message()], [], [bad])).result(WAIT)
    assert installation.bus.depth() == 0


def test_a_repeated_message_is_not_delivered_while_the_first_is_out(installation: Installation) -> None:
    collector = Collector()
    one = message(content="once")
    installation.bus.publish([one]).result(WAIT)
    installation.bus.publish([one, message(content="other")]).result(WAIT)
    installation.bus.consume(collector, 10)
    collector.wait(2)
    assert sorted(collector.contents()) == ["once", "other"]
    if installation.knows_messages:
        assert installation.bus.depth() == 2
        return
    installation.arrived(1)
    [first] = [d for d in collector.got if d.message.content == "once"]
    assert len(collector.got) == 2, "two copies were out at the same time"
    installation.bus.settle(first, Settlement()).result(WAIT)
    assert collector.wait(3)[2].message == first.message


def test_prefetch_bounds_what_is_unsettled(installation: Installation) -> None:
    collector = Collector()
    installation.bus.publish([message(content=n) for n in range(5)]).result(WAIT)
    installation.bus.consume(collector, 2)
    first = collector.wait(2)
    assert len(collector.got) == 2
    installation.bus.settle(first[0], Settlement()).result(WAIT)
    collector.wait(3)
    assert len(collector.got) == 3


def test_flows_take_turns(installation: Installation) -> None:
    collector = Collector()
    each = 0
    installation.bus.consume(collector, 100, lambda _flow: each)
    installation.bus.publish([message("busy", n) for n in range(50)]).result(WAIT)
    installation.bus.publish([message("quiet", "hello")]).result(WAIT)
    installation.arrived(51)
    each = 20
    installation.bus.publish([message("third")]).result(WAIT)
    collector.wait(22)
    assert "hello" in collector.contents()[:3]
    assert len(collector.got) == 22


def test_a_busy_flow_does_not_hold_up_another(installation: Installation) -> None:
    installation.bus.publish([message("busy", n) for n in range(50)]).result(WAIT)
    installation.bus.publish([message("quiet", "hello")]).result(WAIT)
    collector = Collector()
    installation.bus.consume(collector, 60, lambda _flow: 5)
    collector.wait(6)
    assert "hello" in collector.contents()


def test_more_messages_than_the_window_all_arrive_in_order(installation: Installation) -> None:
    installation.small_window(20)
    for start in range(0, 100, 10):
        installation.bus.publish([message(content=start + n) for n in range(10)]).result(WAIT)
    collector = Collector()
    installation.bus.consume(collector, 1000)
    deliveries = collector.wait(100)
    assert collector.contents() == list(range(100))
    for delivery in deliveries:
        installation.bus.settle(delivery, Settlement()).result(WAIT)
    assert installation.bus.depth() == 0
    installation.crash()
    assert installation.bus.depth() == 0


def test_messages_published_while_the_window_is_read_in_are_not_lost(installation: Installation) -> None:
    installation.small_window(8)
    seen: list[int] = []
    done = threading.Event()

    def handle(delivery: Delivery) -> None:
        seen.append(delivery.message.content)
        installation.bus.settle(delivery, Settlement())
        if len(seen) == 400:
            done.set()

    installation.bus.consume(handle, 4)
    threads = [
        threading.Thread(
            target=lambda base=base: [installation.bus.publish([message(content=base + n)]) for n in range(100)]
        )
        for base in (0, 100, 200, 300)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert done.wait(WAIT), f"only {len(seen)} came"
    assert sorted(seen) == list(range(400))


def test_remove_takes_the_waiting_messages_of_one_flow(installation: Installation) -> None:
    installation.bus.publish([message("gone", n) for n in range(5)]).result(WAIT)
    installation.bus.publish([message("kept", "k")]).result(WAIT)
    if not installation.knows_messages:
        assert installation.bus.remove("gone", 3, lambda found: [kept(m) for m in found]) == ([], 0)
        collector = Collector()
        installation.bus.consume(collector, 10)
        collector.wait(6)
        assert installation.bus.depth("gone") == 5
        return
    messages, count = installation.bus.remove("gone", 3, lambda found: [kept(m) for m in found])
    assert [m.content for m in messages] == [0, 1, 2]
    assert count == 5
    assert installation.documents.count("unprocessed") == 3
    assert installation.bus.depth("gone") == 0
    collector = Collector()
    installation.bus.consume(collector, 10)
    assert [d.message.content for d in collector.wait(1)] == ["k"]
    installation.crash()
    assert installation.bus.depth() == 1


def test_what_cannot_be_kept_is_not_removed(installation: Installation) -> None:
    def fails(found: Sequence[Message]) -> list[Write]:
        raise Unavailable(f"no room for {len(found)} messages")

    installation.bus.publish([message("gone", n) for n in range(3)]).result(WAIT)
    if not installation.knows_messages:
        assert installation.bus.remove("gone", 2, fails) == ([], 0)
        assert installation.bus.depth("gone") == 3
        return
    with pytest.raises(Unavailable, match="no room for 2"):
        installation.bus.remove("gone", 2, fails)
    messages, count = installation.bus.remove("gone", 9, lambda found: [kept(m) for m in found])
    assert ([m.content for m in messages], count) == ([0, 1, 2], 3)


def test_nothing_is_delivered_after_consuming_stopped(installation: Installation) -> None:
    collector = Collector()
    installation.bus.consume(collector, 10)
    installation.bus.stop_consuming()
    installation.bus.publish([message()]).result(WAIT)
    assert collector.got == []
    assert installation.bus.depth() == 1


def test_some_messages_may_be_taken_out_of_turn(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_bus, "TAKE", 2)
    published = [message(content=n) for n in range(6)]
    installation.bus.publish(published).result(WAIT)
    installation.crash()
    wanted = [published[n].id for n in (4, 1, 3)]
    taken = installation.bus.take([*wanted, "nobody"])
    if not installation.knows_messages:
        assert taken == []
        assert installation.bus.depth() == 6
        return
    assert [d.message.content for d in taken] == [1, 3, 4]
    assert all(d.redelivered for d in taken)
    assert installation.bus.depth() == 6
    installation.bus.settle(taken[0], Settlement()).result(WAIT)
    collector = Collector()
    installation.bus.consume(collector, 10)
    collector.wait(3)
    installation.bus.publish([message(content=6)]).result(WAIT)
    collector.wait(4)
    assert collector.contents() == [0, 2, 5, 6]
    for delivery in [*taken[1:], *collector.got]:
        installation.bus.settle(delivery, Settlement()).result(WAIT)
    assert installation.bus.depth() == 0
    installation.crash()
    assert installation.bus.depth() == 0


def test_what_was_taken_counts_as_handed_out(installation: Installation) -> None:
    if not installation.knows_messages:
        pytest.skip("a broker's messages cannot be taken")
    published = [message(content=n) for n in range(3)]
    installation.bus.publish(published).result(WAIT)
    installation.crash()
    [taken] = installation.bus.take([published[1].id])
    collector = Collector()
    installation.bus.consume(collector, 10, lambda _flow: 1)
    installation.bus.publish([message("other", content="other")]).result(WAIT)
    collector.wait(1)
    assert collector.contents() == ["other"]
    installation.bus.settle(taken, Settlement()).result(WAIT)
    collector.wait(2)
    assert collector.contents() == ["other", 0]


def test_nothing_is_taken_when_nothing_is_asked_for(installation: Installation) -> None:
    installation.bus.publish([message()]).result(WAIT)
    assert installation.bus.take([]) == []


def test_log_records_stay_until_done(installation: Installation) -> None:
    records = [{"id": str(n), "created": 1, "flowId": "f"} for n in range(5)]
    for record in records:
        installation.bus.settle(None, Settlement(logs=[record])).result(WAIT)
    batch = installation.bus.take_logs(3, WAIT)
    assert batch is not None
    assert [r["id"] for r in batch.records] == ["0", "1", "2"]
    installation.crash()  # before they were said to be done
    again = installation.bus.take_logs(10, WAIT)
    assert again is not None
    assert [r["id"] for r in again.records] == ["0", "1", "2", "3", "4"]
    installation.bus.logs_done(again)
    installation.crash()
    assert installation.bus.take_logs(10, 0.5) is None


def test_more_log_records_than_the_window_are_all_taken(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_bus, "LOG_WINDOW", 5)
    for n in range(40):
        installation.bus.settle(None, Settlement(logs=[{"id": n}])).result(WAIT)
    taken: list[int] = []
    while (batch := installation.bus.take_logs(7, 0.5)) is not None:
        taken += [r["id"] for r in batch.records]
        installation.bus.logs_done(batch)
    assert taken == list(range(40))


def test_publishing_resolves_for_every_thread(
    installation: Installation, together: Callable[..., list[object]]
) -> None:
    together(lambda n: installation.bus.publish([message(content=n)]).result(WAIT))
    assert installation.bus.depth("flow") == 8


def test_writes_of_one_document_keep_their_order_within_a_commit_group(installation: Installation) -> None:
    other = Write("timers", "other", None)
    put, gone = Write("timers", "t", {"_id": "t", "due": 1}), Write("timers", "t", None)
    futures = [installation.bus.settle(None, Settlement(writes=[w])) for w in (other, put, gone)]
    for future in futures:
        future.result(WAIT)
    assert installation.documents.get("timers", "t") is None
    futures = [installation.bus.settle(None, Settlement(writes=[w])) for w in (put, gone, put)]
    for future in futures:
        future.result(WAIT)
    assert installation.documents.get("timers", "t") == {"_id": "t", "due": 1}


def test_what_says_that_the_rest_is_done_becomes_durable_too(installation: Installation) -> None:
    timer = Write("timers", "t1", {"_id": "t1", "due": 5})
    installation.bus.settle(None, Settlement(writes=[timer])).result(WAIT)
    place = Write("windows", "w1", {"_id": "w1", "emitted": 500})
    last = [Write("timers", "t1", None), place]
    installation.bus.settle(None, Settlement([message()], last=last)).result(WAIT)
    assert installation.documents.get("timers", "t1") is None
    assert installation.documents.get("windows", "w1") == {"_id": "w1", "emitted": 500}
    assert installation.bus.depth() == 1


def test_a_closed_bus_takes_nothing(installation: Installation) -> None:
    installation.close()
    with pytest.raises(Unavailable):
        installation.bus.publish([message()]).result(WAIT)


def test_a_bus_that_works_is_not_blocked(installation: Installation) -> None:
    installation.bus.publish([message()]).result(WAIT)
    assert installation.bus.blocked is None
