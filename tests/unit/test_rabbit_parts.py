"""Parts of the bus on RabbitMQ that need no broker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pika.channel import Channel

from engine.adapters.rabbit import outbox as outbox_module
from engine.adapters.rabbit import room as room_module
from engine.adapters.rabbit import topology
from engine.adapters.rabbit.depths import Depths
from engine.adapters.rabbit.link import Link
from engine.adapters.rabbit.outbox import Outbox, Parcel
from engine.adapters.rabbit.records import MOST_BYTES, pieces
from engine.adapters.rabbit.room import Room, Ticket
from engine.adapters.rabbit.topology import BULK, STEPS
from engine.adapters.rabbit.writer import Writer
from engine.errors import BadRequest, Unavailable
from engine.model.message import Message
from engine.ports import Delivery, StateChange, Write


class FakeLink:
    """Nothing waits: what is to be done later is done when `pass_time` is called."""

    def __init__(self) -> None:
        self.may_publish = True
        self.later_on: list[Callable[[], None]] = []
        self.cuts: list[str] = []
        self.opening: list[Callable[[Channel], None]] = []

    def open_channel(self, opened: Callable[[Channel], None]) -> None:
        self.opening.append(opened)

    def later(self, _seconds: float, work: Callable[[], None]) -> None:
        self.later_on.append(work)

    def cut(self, why: str) -> None:
        self.cuts.append(why)

    def pass_time(self) -> None:
        works, self.later_on = self.later_on, []
        for work in works:
            work()


class FakeChannel:
    is_open = True

    def __init__(self) -> None:
        self.published: list[tuple[str, bytes]] = []
        self.declared: list[str] = []
        self.closed = False

    def close(self) -> None:
        self.closed = True

    def add_on_return_callback(self, callback: Callable[..., None]) -> None:
        def give_back(queue: str, body: bytes) -> None:
            callback(self, SimpleNamespace(routing_key=queue), None, body)

        self.give_back = give_back

    def confirm_delivery(self, callback: Callable[..., None]) -> None:
        def answer(name: str, tag: int, *, multiple: bool = False) -> None:
            callback(SimpleNamespace(method=SimpleNamespace(NAME=name, delivery_tag=tag, multiple=multiple)))

        self.answer = answer

    def basic_publish(self, _exchange: str, queue: str, body: bytes, _properties: object, *, mandatory: bool) -> None:
        assert mandatory
        self.published.append((queue, body))

    def queue_declare(self, queue: str, **_options: Any) -> None:
        self.declared.append(queue)


class Post:
    """An outbox with what it has published and what was confirmed."""

    def __init__(self) -> None:
        self.link = FakeLink()
        self.outbox = Outbox(cast(Link, self.link))
        self.done: list[bytes] = []
        self.connect()

    def connect(self) -> FakeChannel:
        self.channel = FakeChannel()
        self.outbox.up(cast(Channel, self.channel))
        self.outbox.flush()
        return self.channel

    def send(self, *names: str) -> list[Parcel]:
        parcels = []
        for name in names:
            body = name.encode()
            parcels.append(Parcel("q", body, partial(self.done.append, body)))
            self.outbox.send(parcels[-1])
        self.outbox.flush()
        return parcels

    @property
    def published(self) -> list[bytes]:
        return [body for _, body in self.channel.published]


@pytest.fixture
def post() -> Post:
    return Post()


def test_confirms_come_one_by_one_and_for_many(post: Post) -> None:
    post.send("a", "b", "c", "d")
    post.channel.answer("Basic.Ack", 2)
    assert post.done == [b"b"]
    post.channel.answer("Basic.Ack", 3, multiple=True)
    assert post.done == [b"b", b"a", b"c"]
    post.channel.answer("Basic.Ack", 4, multiple=True)
    assert post.done == [b"b", b"a", b"c", b"d"]


def test_what_the_broker_refuses_is_published_again(post: Post) -> None:
    post.send("a", "b", "c")
    post.channel.answer("Basic.Nack", 2, multiple=True)
    assert post.done == []
    assert post.published == [b"a", b"b", b"c"]
    post.link.pass_time()
    assert post.published == [b"a", b"b", b"c", b"a", b"b"]
    post.channel.answer("Basic.Ack", 5, multiple=True)
    assert post.done == [b"c", b"a", b"b"]


def test_what_is_returned_is_not_taken_for_confirmed(post: Post) -> None:
    post.send("a", "b")
    post.channel.give_back("q", b"b")
    post.channel.answer("Basic.Ack", 2, multiple=True)
    assert post.done == [b"a"]
    assert post.channel.declared == ["q"]
    post.link.pass_time()
    assert post.published == [b"a", b"b", b"b"]
    post.channel.answer("Basic.Ack", 3)
    assert post.done == [b"a", b"b"]


def test_the_window_bounds_what_is_under_way(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "WINDOW", 2)
    post.send("a", "b", "c", "d")
    assert post.published == [b"a", b"b"]
    post.channel.answer("Basic.Ack", 1)
    assert post.published == [b"a", b"b", b"c"]


def test_over_a_new_connection_all_that_is_not_confirmed_goes_first(post: Post) -> None:
    _, b, _ = post.send("a", "b", "c")
    post.channel.answer("Basic.Ack", 1)
    post.outbox.down()
    post.send("d")
    b.wanted = False
    assert post.connect().published == [("q", b"c"), ("q", b"d")]


def test_nothing_is_published_while_the_broker_is_blocked(post: Post) -> None:
    post.link.may_publish = False
    post.send("a")
    assert post.published == []
    post.link.may_publish = True
    post.outbox.flush()
    assert post.published == [b"a"]


def test_what_is_refused_again_and_again_goes_over_a_new_channel(post: Post) -> None:
    """A channel may know a dead node as a queue's leader, and nothing else."""
    post.send("a")
    for n in range(outbox_module.REFUSALS):
        assert post.link.opening == []
        post.channel.answer("Basic.Nack", n + 1)
        post.link.pass_time()
    [opened] = post.link.opening
    old, new = post.channel, FakeChannel()
    post.send("b")
    opened(cast(Channel, new))
    assert old.closed
    assert [body for _, body in new.published] == [b"a", b"b"]
    old.answer("Basic.Ack", 2)  # too late: it says nothing about the new channel's messages
    assert post.done == []
    new.answer("Basic.Ack", 2, multiple=True)
    assert post.done == [b"a", b"b"]


def test_a_message_that_is_not_confirmed_for_long_goes_over_a_new_channel(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    post.send("a", "b")
    post.channel.answer("Basic.Ack", 2)
    post.outbox.watch()
    assert post.link.opening == []
    monkeypatch.setattr(outbox_module, "STALL", -1.0)
    post.outbox.watch()
    post.outbox.watch()
    [opened] = post.link.opening
    post.outbox.down()  # meanwhile
    post.connect()
    late = FakeChannel()
    opened(cast(Channel, late))
    assert late.closed
    assert post.published == [b"a"]


def test_a_silent_broker_is_left(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "SILENCE", -1.0)
    post.outbox.watch()
    assert post.link.cuts == []  # there is nothing to be confirmed
    post.send("a")
    post.outbox.watch()
    assert len(post.link.cuts) == 1


# -- deliveries in this process


def delivery(
    flow_id: str, number: int, *, queue: str = STEPS[0], id: str | None = None, arrived: float = 0
) -> Delivery:
    message = Message(id or f"{flow_id}.{number}", flow_id, 1, 1, "c", "cid", "in", number, {}, 1)
    return Delivery(message, Ticket(queue, number, 1, arrived))


@pytest.fixture
def room() -> Room:
    made = Room()
    made.lost(1)
    return made


def put(room: Room, *deliveries: Delivery) -> None:
    for one in deliveries:
        assert room.arrive(one, suspected=False)


def test_two_copies_are_never_out_together(room: Room) -> None:
    room.open(10, None)
    put(room, delivery("f", 1, id="same"), delivery("f", 2, id="same"), delivery("f", 3))
    first, other = room.next(), room.next()
    assert first is not None
    assert other is not None
    assert (first.message.content, other.message.content) == (1, 3)
    room.ended(first)
    copy = room.next()
    assert copy is not None
    assert copy.message.content == 2
    assert len(room) == 2


def test_what_is_out_when_the_connection_is_lost_still_has_its_place(room: Room) -> None:
    room.open(1, None)
    put(room, delivery("f", 1, id="same"), delivery("f", 2))
    out = room.next()
    assert out is not None
    room.lost(2)
    assert len(room) == 0
    message = out.message
    put(room, Delivery(message, Ticket(STEPS[0], 1, 2), redelivered=True))
    taken: list[Delivery | None] = []
    thread = threading.Thread(target=lambda: taken.append(room.next()))
    thread.start()
    room.ended(out)
    thread.join(10)
    assert [d.redelivered for d in taken if d is not None] == [True]
    assert len(room) == 1


def test_a_flow_with_its_share_does_not_become_a_hog_until_others_are_kept_out(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_module, "HOG", 5)
    room.open(20, lambda _flow: 0)
    for n in range(14):
        assert room.arrive(delivery("hog", n), suspected=False)
    assert not room.arrive(delivery("hog", 14), suspected=False)
    assert room.arrive(delivery("quiet", 16), suspected=False)
    assert room.arrive(delivery("hog", 17, queue=BULK), suspected=False)
    assert room.arrive(delivery("hog", 18, queue=STEPS[1]), suspected=False)


def test_crowded_flows_go_slowly_while_others_have_something_to_do(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_module, "PACE", 1_000.0)
    room.open(20, None)
    put(room, *(delivery("crowd", n, queue=BULK) for n in range(9)))
    first = [room.next() for _ in range(4)]  # alone
    put(room, *(delivery("quiet", n) for n in range(4)))
    then = [room.next() for _ in range(5)]
    assert [d.message.flow_id for d in [*first, *then] if d] == ["crowd"] * 4 + ["quiet"] * 4 + ["crowd"]
    put(room, delivery("quiet", 5))
    last = room.next()
    assert last is not None
    assert last.message.flow_id == "quiet"


def test_the_longest_waiting_are_found(room: Room) -> None:
    put(room, *(delivery(flow, n, arrived=n) for n in range(5) for flow in ("a", "b")))
    put(room, delivery("c", 1, queue=BULK, arrived=1), delivery("c", 9, queue=BULK, arrived=9))
    room.open(1, lambda flow: flow == "d")
    put(room, delivery("d", 0, id="same", arrived=0), delivery("d", 1, id="same", arrived=1))
    out = room.next()
    room.open(2, lambda flow: 2 if flow == "d" else 0)
    put(room, delivery("d", 5, arrived=5))
    assert room.next() is not None  # the copy is put aside
    old = room.older(2)
    assert out is not None
    assert out not in old
    assert sorted((d.message.flow_id, d.message.content) for d in old) == [
        ("a", 0), ("a", 1), ("b", 0), ("b", 1), ("c", 1), ("d", 1),
    ]  # fmt: skip
    assert len(room) == 15
    for one in old:
        room.gone(one)
    assert len(room) == 9


# -- counts


class Counters:
    def __init__(self) -> None:
        self.asked: list[Mapping[str, int]] = []
        self.others = 0
        self.away = False

    def add(self, changes: Mapping[str, int]) -> Mapping[str, int]:
        if self.away:
            raise Unavailable("away")
        self.asked.append(dict(changes))
        return {name: by + self.others for name, by in changes.items()}


def test_counts_are_exchanged_together() -> None:
    counters = Counters()
    depths = Depths(counters)
    for flow in ("a", "a", "b"):
        depths.add(flow, 1)
    depths.add("b", -1)
    depths.close()
    assert sum((asked.get("a", 0) for asked in counters.asked), 0) == 2
    assert depths.of("a") == 0
    counters.others = 7
    assert depths.of("a") == 7


def test_a_crowded_flow_is_crowded_until_few_are_left() -> None:
    depths = Depths(None)
    depths.add("f", 1_000)
    assert not depths.is_crowded("f")
    depths.add("f", 1)
    assert depths.is_crowded("f")
    depths.add("f", -801)
    assert depths.is_crowded("f")
    depths.add("f", -1)
    assert not depths.is_crowded("f")
    assert depths.of("f") == 199


def test_counts_that_could_not_be_shared_are_shared_later() -> None:
    counters = Counters()
    depths = Depths(counters)
    counters.away = True
    depths.add("f", 3)
    assert depths.of("f") == 3
    counters.away = False
    assert depths.of("f") == 3
    assert {"f": 3} in counters.asked
    depths.close()


# -- records and documents


def test_records_become_texts_of_a_bounded_size() -> None:
    assert pieces([]) == []
    assert pieces([{"id": 1}, {"id": 2}]) == [b'{"id":1},{"id":2}']
    large = pieces([{"m": "x" * 50_000} for _ in range(7)] + [{"m": "y" * 2 * MOST_BYTES}])
    assert [len(text) // 1000 for text in large] == [100, 100, 100, 50, 262]


def test_of_one_document_the_last_write_counts() -> None:
    stored: list[list[Write]] = []
    go_on = threading.Event()

    def bulk(writes: Sequence[Write], states: Sequence[StateChange]) -> None:
        go_on.wait(10)
        stored.append(list(writes))

    writer = Writer(bulk)
    told: list[Exception | None] = []
    for n in range(4):
        writer.submit([Write("timers", "t", {"n": n}), Write("timers", f"t{n}", None)], [], told.append)
    go_on.set()
    writer.close()
    assert told == [None] * 4
    assert len(stored) <= 2
    assert [w.doc for w in stored[-1] if w.id == "t"] == [{"n": 3}]


def test_who_asks_for_the_impossible_fails_alone() -> None:
    stored: list[str] = []

    def bulk(writes: Sequence[Write], states: Sequence[StateChange]) -> None:
        if any(w.id == "bad" for w in writes):
            raise BadRequest("no")
        stored.extend(w.id for w in writes)

    writer = Writer(bulk)
    told: dict[str, Exception | None] = {}
    for name in ("a", "bad", "b"):
        writer.submit([Write("timers", name, {})], [], partial(told.__setitem__, name))
    writer.close()
    assert sorted(stored) == ["a", "b"]
    assert told["a"] is told["b"] is None
    assert isinstance(told["bad"], BadRequest)


def test_a_flow_keeps_its_queue() -> None:
    """Where a flow's messages are must not change with a release."""
    assert [topology.shard(name) for name in ("flow-1", "flow-2", "flow-3", "ü")] == [
        "steps.5", "steps.7", "steps.1", "steps.5",
    ]  # fmt: skip
    assert {topology.shard(f"f{n}") for n in range(200)} == set(STEPS)
