"""What only the bus on RabbitMQ has to do: see tests/contract/test_bus.py for the rest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest

from deploy.local import free_port
from engine.adapters.rabbit import depths, intake, link, room, settling, topology
from engine.adapters.rabbit.bus import RabbitBus
from engine.adapters.rabbit.outbox import Outbox
from engine.adapters.rabbit.topology import BULK, LOGS, STEPS, SUSPECTS, shard
from engine.errors import DeliveryLost, Unavailable
from engine.model.message import encode
from engine.ports import Settlement, Write
from tests import rabbit_server
from tests.contract.buses import WAIT, Collector, Rabbit, message, until

TIMER = Write("timers", "t1", {"_id": "t1", "due": 5})


@pytest.fixture
def rabbit(request: pytest.FixtureRequest) -> Iterator[Rabbit]:
    url = rabbit_server.shared_url()
    rabbit_server.clear(url)
    opened = Rabbit(url, request.getfixturevalue("mongo")[1])
    yield opened
    opened.close()


@pytest.fixture
def more(rabbit: Rabbit) -> Iterator[Callable[..., RabbitBus]]:
    """Further processes on the same broker."""
    opened: list[RabbitBus] = []

    def another(**options: Any) -> RabbitBus:
        opened.append(RabbitBus(rabbit.url, rabbit.settle, counters=rabbit.counters, **options))
        return opened[-1]

    yield another
    for bus in opened:
        bus.close()


def flows_of_one_shard(count: int) -> list[str]:
    names = (f"flow-{n}" for n in range(10_000))
    return [name for name in names if shard(name) == STEPS[0]][:count]


# -- durability


def test_nothing_is_acknowledged_before_all_is_confirmed(
    rabbit: Rabbit, more: Callable[..., RabbitBus], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Any] = []
    rabbit.bus.publish([message(content="parent")]).result(WAIT)
    monkeypatch.setattr(Outbox, "_answered", lambda _self, _channel, frame: heard.append(frame))
    deaf, collector = more(), Collector()
    deaf.consume(collector, 10)
    [parent] = collector.wait(1)
    done = deaf.settle(parent, Settlement([message(content="child")], [{"id": "r"}], last=[TIMER]))
    collector.wait(2)
    until(lambda: heard, "the broker has confirmed")
    assert not done.done()
    assert rabbit.documents.get("timers", "t1") is None
    rabbit_server.kill(deaf)
    again = Collector()
    rabbit.bus.consume(again, 10)
    again.wait(2)
    assert sorted(again.contents()) == ["child", "parent"]


@pytest.mark.parametrize("stage", ["send", "_confirmed"])
def test_what_belongs_to_no_delivery_is_not_said_to_be_done_before_it_is(rabbit: Rabbit, stage: str) -> None:
    """A timer that fires: it may be published twice, but must not be gone without having been published."""
    rabbit.bus.settle(None, Settlement(writes=[TIMER])).result(WAIT)
    bus = rabbit.bus
    cut = threading.Event()

    def kill(*_: object) -> None:
        rabbit_server.kill(bus)
        cut.set()

    setattr(bus._pipeline, stage, kill)
    bus.settle(None, Settlement([message()], last=[Write("timers", "t1", None)]))
    assert cut.wait(WAIT)
    rabbit_server.bury(bus)
    rabbit.bus = rabbit.open()
    assert rabbit.documents.get("timers", "t1") is not None


def test_messages_under_way_survive_a_lost_connection(rabbit: Rabbit) -> None:
    collector = Collector()
    rabbit.bus.consume(collector, 1_000)
    futures: list[Future[None]] = []
    for n in range(300):
        futures.append(rabbit.bus.publish([message(f"flow-{n}", n)]))
        if n % 100 == 50:
            rabbit_server.cut(rabbit.bus)
    for future in futures:
        future.result(WAIT)
    until(lambda: set(collector.contents()) == set(range(300)), "all have come")


def test_a_queue_that_was_deleted_is_made_again(rabbit: Rabbit) -> None:
    rabbit.bus.publish([message(content=0)]).result(WAIT)
    rabbit_server.clear(rabbit.url)
    rabbit.bus.publish([message(content=1)]).result(WAIT)
    collector = Collector()
    rabbit.bus.consume(collector, 10)
    collector.wait(1)
    assert collector.contents() == [1]
    rabbit_server.clear(rabbit.url)  # while it is consumed
    rabbit.bus.publish([message(content=2)]).result(WAIT)
    collector.wait(2)


def test_one_settlement_that_cannot_be_stored_does_not_spoil_the_others(rabbit: Rabbit) -> None:
    rabbit.out_of_order = True
    bad = Write("timers", "bad", {"_id": "bad", "due": object()})
    good = [Write("timers", f"t{n}", {"_id": f"t{n}", "due": n}) for n in range(20)]
    rabbit.hold.clear()  # so that they wait at the same time
    rabbit.out_of_order = False
    futures = [rabbit.bus.settle(None, Settlement(writes=[w])) for w in [*good[:10], bad, *good[10:]]]
    rabbit.hold.set()
    for n, future in enumerate(futures):
        if n == 10:
            with pytest.raises(Exception, match="timers"):
                future.result(WAIT)
        else:
            future.result(WAIT)
    assert rabbit.documents.count("timers") == 20


def test_settlements_that_wait_at_the_same_time_share_a_bulk(rabbit: Rabbit) -> None:
    rabbit.hold.clear()
    futures = [
        rabbit.bus.settle(None, Settlement(writes=[Write("timers", "same", {"_id": "same", "due": n})]))
        for n in range(50)
    ]
    rabbit.hold.set()
    for future in futures:
        future.result(WAIT)
    assert len(rabbit.bulks) <= 3
    assert rabbit.documents.get("timers", "same") == {"_id": "same", "due": 49}


# -- lost deliveries


def test_a_lost_delivery_cannot_be_settled_and_its_copy_waits_for_its_end(rabbit: Rabbit) -> None:
    collector = Collector()
    rabbit.bus.consume(collector, 10)
    rabbit.bus.publish([message(content="parent")]).result(WAIT)
    [lost] = collector.wait(1)
    rabbit_server.cut(rabbit.bus)
    rabbit.arrived(1)
    assert len(collector.got) == 1, "the copy came while the first was still out"
    settlement = Settlement([message(content="child")], [{"id": "r"}], [TIMER])
    with pytest.raises(DeliveryLost, match="comes again"):
        rabbit.bus.settle(lost, settlement).result(WAIT)
    copy = collector.wait(2)[1]
    assert copy.message == lost.message
    assert copy.redelivered
    assert copy.returned == 1
    assert rabbit.documents.get("timers", "t1") is None
    rabbit.bus.settle(copy, settlement).result(WAIT)
    assert [d.message.content for d in collector.wait(3)] == ["parent", "parent", "child"]
    assert rabbit.bus.depth() == 1


def test_a_message_of_an_unknown_format_stays_on_its_queue(rabbit: Rabbit) -> None:
    collector = Collector()
    rabbit.bus.publish([message(content="first")]).result(WAIT)
    rabbit_server.publish(rabbit.url, shard("flow"), b"[99,1]")
    rabbit_server.publish(rabbit.url, shard("flow"), b"not JSON")
    rabbit.bus.consume(collector, 10)
    rabbit.bus.publish([message(content="second")]).result(WAIT)
    collector.wait(2)
    assert collector.contents() == ["first", "second"]
    rabbit.crash()
    until(lambda: rabbit.bus.lengths()[shard("flow")] == 4, "nothing was removed")


# -- suspects


def test_what_comes_back_too_often_is_moved_to_the_suspects(rabbit: Rabbit, more: Callable[..., RabbitBus]) -> None:
    rabbit.bus.publish([message(content=n) for n in range(5)]).result(WAIT)
    for _ in range(topology.RETURNS):
        collector = Collector()
        rabbit.bus.consume(collector, 10)
        collector.wait(5)
        rabbit.crash()
    collector = Collector()
    rabbit.bus.consume(collector, 10)
    until(lambda: rabbit.bus.lengths()[SUSPECTS] == 5, "all are suspects")
    assert collector.got == []
    assert rabbit.bus.depth() == 5
    alone = Collector()
    trial = more(queues=(SUSPECTS,))
    trial.consume(alone, 1)
    for n in range(5):
        delivery = alone.wait(n + 1)[n]
        assert len(alone.got) == n + 1
        trial.settle(delivery, Settlement()).result(WAIT)
    assert sorted(alone.contents()) == list(range(5))
    until(lambda: rabbit.bus.depth() == 0, "nothing is left")


def test_a_suspect_tells_how_often_it_came_back(rabbit: Rabbit, more: Callable[..., RabbitBus]) -> None:
    rabbit.bus.depth()  # the queues are there
    rabbit_server.publish(rabbit.url, SUSPECTS, encode(message(content="poison")))
    for deaths in range(5):
        collector = Collector()
        trial = more(queues=(SUSPECTS,))
        trial.consume(collector, 1)
        assert collector.wait(1)[0].returned == deaths
        rabbit_server.kill(trial)


# -- fairness


def test_a_crowded_flow_makes_a_detour(rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depths, "MANY", 20)
    monkeypatch.setattr(depths, "FEW", 5)
    rabbit.bus.publish([message("crowd", n) for n in range(21)]).result(WAIT)
    rabbit.bus.publish([message("crowd", 21), message("other", "hello")]).result(WAIT)
    lengths = rabbit.bus.lengths()
    assert lengths[BULK] == 1
    assert lengths[shard("crowd")] + lengths[shard("other")] >= 22
    assert rabbit.bus.depth("crowd") == 22
    collector = Collector()
    rabbit.bus.consume(collector, 50)
    for delivery in collector.wait(23):
        rabbit.bus.settle(delivery, Settlement()).result(WAIT)
    assert rabbit.bus.depth("crowd") == 0
    rabbit.bus.stop_consuming()
    rabbit.bus.publish([message("crowd", "later")]).result(WAIT)
    assert rabbit.bus.lengths()[shard("crowd")] == 1


def test_every_process_knows_how_many_wait(rabbit: Rabbit, more: Callable[..., RabbitBus]) -> None:
    rabbit.bus.publish([message("crowd", n) for n in range(7)]).result(WAIT)
    other = more()
    until(lambda: other.depth("crowd") == 7, "the other process knows")
    collector = Collector()
    other.consume(collector, 10)
    for delivery in collector.wait(7)[:3]:
        other.settle(delivery, Settlement()).result(WAIT)
    until(lambda: rabbit.bus.depth("crowd") == 4, "the first process knows")
    rabbit.counters.away = True
    rabbit.bus.publish([message("crowd", 8)]).result(WAIT)
    assert rabbit.bus.depth("crowd") == 5
    rabbit.counters.away = False
    until(lambda: other.depth("crowd") == 5, "what could not be told was told later")


def test_a_hog_is_taken_out_of_the_way(rabbit: Rabbit) -> None:
    """More than is fetched at a time of one flow, none of which may begin: another flow gets through all the same."""
    hog, quiet = flows_of_one_shard(2)
    rabbit.bus.publish([message(hog, n) for n in range(400)]).result(WAIT)
    rabbit.bus.publish([message(quiet, "hello")]).result(WAIT)
    collector = Collector()
    rabbit.bus.consume(collector, 200, lambda flow_id: 10)
    until(lambda: "hello" in collector.contents(), "the quiet flow gets through")
    assert [d.message.flow_id for d in collector.got].count(hog) == 10
    seen = 0
    until(lambda: rabbit.bus.depth() == 401, "nothing got lost on the way")
    while seen < 401:
        for delivery in collector.wait(seen + 1)[seen:]:
            seen += 1
            rabbit.bus.settle(delivery, Settlement())
    assert sorted(str(content) for content in collector.contents()) == sorted([*map(str, range(400)), "hello"])


def test_crowded_flows_get_a_quarter_while_others_wait(rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "PACE", 0.0)
    rabbit.bus.publish([message("slow", n) for n in range(40)]).result(WAIT)
    rabbit.counters.counts["crowd"] = 5_000
    assert rabbit.bus.depth("crowd") == 5_000
    rabbit.bus.publish([message("crowd", n) for n in range(40)]).result(WAIT)
    assert rabbit.bus.lengths()[BULK] == 40
    each = 0
    collector = Collector()
    rabbit.bus.consume(collector, 40, lambda _flow: each)
    rabbit.arrived(80)
    each = 100
    rabbit.bus.publish([message("another")]).result(WAIT)
    collector.wait(40)
    begun = [d.message.flow_id for d in collector.got]
    assert begun.count("crowd") == 10


def test_what_waits_for_long_goes_to_the_end_of_a_queue(rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker closes the channel on deliveries that are not acknowledged within half an hour."""
    collector = Collector()
    rabbit.bus.consume(collector, 10, lambda flow_id: 1)
    rabbit.bus.publish([message("serial", n) for n in range(3)]).result(WAIT)
    rabbit.arrived(2)
    monkeypatch.setattr(intake, "LONGEST_WAIT", 0.0)
    until(lambda: "".join(sorted(d.tag.queue for d in rabbit.waiting())) == BULK * 2, "both are on the other queue")
    monkeypatch.setattr(intake, "LONGEST_WAIT", 60.0)
    until(lambda: rabbit.bus.depth() == 3, "none is there twice")
    for n in range(3):
        rabbit.bus.settle(collector.wait(n + 1)[n], Settlement()).result(WAIT)
    assert sorted(collector.contents()) == [0, 1, 2]


# -- log records


def test_records_of_one_moment_travel_together(rabbit: Rabbit) -> None:
    rabbit.bus.publish([message()]).result(WAIT)
    turn = threading.Event()

    def busy() -> None:
        turn.wait(WAIT)

    rabbit_server.on_connection(rabbit.bus, busy)
    futures = [rabbit.bus.settle(None, Settlement(logs=[{"id": n}, {"id": -n}])) for n in range(100)]
    turn.set()
    for future in futures:
        future.result(WAIT)
    assert rabbit.bus.lengths()[LOGS] <= 2
    batch = rabbit.bus.take_logs(500, WAIT)
    assert batch is not None
    assert sorted(r["id"] for r in batch.records) == sorted([*range(100), *(-n for n in range(100))])


def test_many_large_records_are_split(rabbit: Rabbit) -> None:
    records = [{"id": n, "msg": "x" * 60_000} for n in range(9)]
    rabbit.bus.settle(None, Settlement(logs=records)).result(WAIT)
    assert rabbit.bus.lengths()[LOGS] == 5
    found: list[Any] = []
    while len(found) < 9:
        batch = rabbit.bus.take_logs(2, WAIT)
        assert batch is not None
        assert len(batch.records) <= 2
        found += batch.records
        rabbit.bus.logs_done(batch)
    assert found == records


def test_records_that_were_taken_and_not_done_come_again_after_a_cut(rabbit: Rabbit) -> None:
    rabbit.bus.settle(None, Settlement(logs=[{"id": 1}])).result(WAIT)
    taken = rabbit.bus.take_logs(10, WAIT)
    assert taken is not None
    rabbit_server.cut(rabbit.bus)
    again = rabbit.bus.take_logs(10, WAIT)
    assert again is not None
    assert again.records == taken.records
    rabbit.bus.logs_done(taken)  # too late, and harmless
    rabbit.bus.logs_done(again)
    rabbit.crash()
    assert rabbit.bus.take_logs(10, 0.5) is None


# -- without a broker


def test_without_a_broker_callers_are_refused_and_the_bus_ends_all_the_same(
    mongo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "PATIENCE", 0.2)
    monkeypatch.setattr(link, "GRACE", 0.1)
    bus = RabbitBus(f"amqp://guest:guest@127.0.0.1:{free_port()}/", mongo[1].bulk)
    with pytest.raises(Unavailable, match="RabbitMQ"):
        bus.publish([message()]).result(WAIT)
    until(lambda: bus.blocked, "it says that it has no connection")
    assert "refused" in (bus.blocked or "")
    with pytest.raises(Unavailable, match="refused"):
        bus.publish([message()]).result(0.1)
    bus.close()


def test_messages_are_kept_as_they_are(rabbit: Rabbit) -> None:
    collector = Collector()
    rabbit.bus.consume(collector, 10)
    whole = replace(message(content="x" * 200_000), kind="timeout", attempt=3, extra={"timeoutId": "t"})
    rabbit.bus.publish([whole]).result(WAIT)
    assert collector.wait(1)[0].message == whole
