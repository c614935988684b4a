"""RabbitMQ is restarted, cut off, out of disk, or loses a node, under load: nothing that was confirmed is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import pytest

from deploy.local.rabbit import Node, Rabbit
from engine.adapters.rabbit import settling
from engine.adapters.rabbit.bus import STEP_QUEUES, RabbitBus
from engine.adapters.rabbit.topology import SUSPECTS, shard
from engine.errors import DeliveryLost, HeadraceError, Unavailable
from engine.model.message import derived_id
from engine.ports import Delivery, Settlement
from tests import rabbit_server
from tests.contract.buses import message, until

pytestmark = pytest.mark.soak  # a minute each way; the bus serves nobody yet

VHOST = "faults"
FLOWS = 20
UNDER_WAY = 50
PAUSE = 0.003
"""Seconds between two messages."""

LONG = 60.0


class Load:
    """Publishes all the time, and settles each message with one that follows it, which is settled too.

    `accepted` are those whose publishing was confirmed, `done` those whose follower was settled.
    """

    def __init__(self, publisher: RabbitBus, consumer: RabbitBus) -> None:
        self._publisher = publisher
        self._consumer = consumer
        self.accepted: set[int] = set()
        self.done: set[int] = set()
        self.refused = 0
        self._slots = threading.Semaphore(UNDER_WAY)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._publish, name="load", daemon=True)
        consumer.consume(self._handle, 200)
        self._thread.start()

    def _publish(self) -> None:
        number = 0
        while not self._ending.is_set():
            self._slots.acquire()
            number += 1
            future = self._publisher.publish([message(f"flow-{number % FLOWS}", [number, 0], f"m{number}")])
            future.add_done_callback(partial(self._published, number))
            self._ending.wait(PAUSE)

    def _published(self, number: int, future: Future[None]) -> None:
        self._slots.release()
        if future.exception() is None:
            self.accepted.add(number)
        else:
            assert isinstance(future.exception(), Unavailable)
            self.refused += 1

    def _handle(self, delivery: Delivery) -> None:
        number, hop = delivery.message.content
        settlement = Settlement(logs=[{"id": delivery.message.id}])
        if hop == 0:
            key = derived_id(delivery.message.id, "next")
            settlement.publishes.append(message(delivery.message.flow_id, [number, 1], key))

        def settled(done: Future[None]) -> None:
            error = done.exception()
            if error is None:
                if hop == 1:
                    self.done.add(number)
            elif not isinstance(error, DeliveryLost):
                self._consumer.settle(delivery, settlement).add_done_callback(settled)

        try:
            self._consumer.settle(delivery, settlement).add_done_callback(settled)
        except HeadraceError:  # the test is over
            return

    def goes_on(self) -> None:
        """Wait until more is accepted and done than so far."""
        number = max(self.accepted, default=0)
        until(lambda: any(n > number for n in self.accepted), "messages are accepted", LONG)
        until(lambda: any(n > number for n in self.done), "messages are executed", LONG)

    def end(self) -> None:
        """Everything accepted is executed."""
        self._ending.set()
        self._thread.join()
        until(lambda: self.accepted <= self.done, "all that was accepted is done", LONG)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rabbit]:
    started = rabbit_server.start(tmp_path_factory.mktemp("rabbit"))
    started.add_vhosts(VHOST)
    yield started
    started.kill()


@pytest.fixture
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "PATIENCE", 1.0)


@pytest.fixture
def make_bus() -> Iterator[Callable[[str], RabbitBus]]:
    made: list[RabbitBus] = []

    def make(url: str) -> RabbitBus:
        # what was fetched when the connection was lost three times is a suspect: it has to be executed as well
        made.append(RabbitBus(url, lambda _writes, _states: None, queues=(*STEP_QUEUES, SUSPECTS)))
        return made[-1]

    yield make
    for bus in made:
        bus.close()


def test_a_restart(broker: Rabbit, make_bus: Callable[[str], RabbitBus], short_patience: None) -> None:
    url = broker.url_of(VHOST)
    load = Load(make_bus(url), make_bus(url))
    load.goes_on()
    watching = make_bus(url)
    broker.nodes[0].stop()
    until(lambda: watching.blocked, "it is known that the broker is away")
    with pytest.raises(Unavailable, match="no connection to RabbitMQ"):
        watching.publish([message()]).result(10)
    broker.nodes[0].start()
    broker.nodes[0].wait()
    load.goes_on()
    load.end()
    assert load.refused > 0
    until(lambda: watching.blocked is None, "it is known that the broker is back")


def test_a_power_cut(broker: Rabbit, make_bus: Callable[[str], RabbitBus], short_patience: None) -> None:
    url = broker.url_of(VHOST)
    load = Load(make_bus(url), make_bus(url))
    load.goes_on()
    broker.nodes[0].kill()
    broker.nodes[0].start()
    broker.nodes[0].wait()
    load.goes_on()
    load.end()


@pytest.mark.parametrize("cuts", [6, 60])
def test_a_connection_that_is_cut(broker: Rabbit, make_bus: Callable[[str], RabbitBus], cuts: int) -> None:
    url = broker.url_of(VHOST)
    publisher, consumer = make_bus(url), make_bus(url)
    load = Load(publisher, consumer)
    for n in range(cuts):
        load.goes_on()
        rabbit_server.cut(consumer if n % 2 else publisher)
    load.goes_on()
    load.end()
    assert load.refused == 0, "a connection that is back at once must not show"


def test_an_alarm(broker: Rabbit, make_bus: Callable[[str], RabbitBus], short_patience: None) -> None:
    """Nothing is accepted; deliveries are kept, and settled when it is over."""
    url = broker.url_of(VHOST)
    load = Load(make_bus(url), make_bus(url))
    load.goes_on()
    web = make_bus(url)
    web.publish([message("web", [0, 1])]).result(10)
    broker.nodes[0].ctl("set_disk_free_limit", "100000GB")
    try:
        with pytest.raises(Unavailable):
            web.publish([message("web", [0, 1])]).result(10)
        until(lambda: web.blocked, "the alarm is known")
        assert "takes no messages" in (web.blocked or "")
        with pytest.raises(Unavailable, match="takes no messages"):
            web.publish([message("web", [0, 1])]).result(0.1)
        accepted = len(load.accepted)
    finally:
        broker.nodes[0].ctl("set_disk_free_limit", "50MB")
    until(lambda: web.blocked is None, "the end of the alarm is known")
    web.publish([message("web", [0, 1])]).result(10)
    load.goes_on()
    load.end()
    assert len(load.accepted) > accepted


@pytest.mark.parametrize("rounds", [1, 10])
def test_a_node_of_three_is_lost(
    tmp_path: Path, make_bus: Callable[[str], RabbitBus], short_patience: None, rounds: int
) -> None:
    """The one that leads the queues; one process is connected to it, the other to another node."""
    cluster = rabbit_server.start(tmp_path, 3)
    try:
        cluster.add_vhosts(VHOST)
        urls = cluster.url_of(VHOST).split(",")
        make_bus(urls[0]).publish([message("first", [0, 1])]).result(LONG)  # makes the queues, led by the first node
        load = Load(make_bus(",".join([*urls[1:], urls[0]])), make_bus(",".join(urls)))
        load.goes_on()
        for _ in range(rounds):
            leader = _leader(cluster)
            leader.kill()
            load.goes_on()
            leader.start()
            leader.wait()
            load.goes_on()
        load.end()
    finally:
        cluster.kill()


def _leader(cluster: Rabbit) -> Node:
    """The node that leads the queue of the first flow."""
    for node in cluster.nodes:
        if node.process is not None and node.process.alive():
            lines = node.ctl("list_queues", "-p", VHOST, "name", "leader").splitlines()
            [name] = [words[1] for words in map(str.split, lines) if words and words[0] == shard("flow-0")]
            return next(node for node in cluster.nodes if node.name == name)
    raise AssertionError("no node is alive")
