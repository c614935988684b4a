"""What RabbitMQ can do on this machine, and what the bus makes of it: hops a second.

A hop is one message delivered, its successor published and confirmed, and the message acknowledged. The raw
ceiling is the driver alone with 200 messages under way, on one queue of the kind the bus uses. Then the bus:
the same hops, each settlement with two log records as the engine's have them, on one flow and on fifty.
With `--url` an existing broker is measured, else one is started for the purpose. `python -m bench.broker`
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pika
import psutil
from pika.channel import Channel

from deploy.local import free_port, rabbit
from engine.adapters.rabbit.bus import RabbitBus
from engine.adapters.rabbit.topology import ARGUMENTS
from engine.model.message import Message, derived_id, new_id
from engine.ports import Delivery, Doc, Settlement

WINDOW = 200
BODY = 1_000
SECONDS = 8.0
PERSISTENT = pika.BasicProperties(delivery_mode=2)  # type: ignore[no-untyped-call]


class Raw:
    """The driver alone, on this thread: what the bus cannot exceed."""

    def __init__(self, url: str, size: int) -> None:
        self._queue = f"bench.{size}"
        self._body = b"x" * size
        self._under_way: dict[int, int | None] = {}
        self._tag = 0
        self.hops = 0
        self.seconds = 0.0
        self._connection = pika.SelectConnection(pika.URLParameters(url), on_open_callback=self._opened)
        self._connection.ioloop.start()

    def _opened(self, connection: Any) -> None:
        connection.channel(on_open_callback=self._declare)

    def _declare(self, channel: Channel) -> None:
        self._channel = channel
        channel.queue_declare(self._queue, durable=True, arguments=ARGUMENTS, callback=self._begin)

    def _begin(self, _frame: object) -> None:
        self._channel.confirm_delivery(self._confirmed)
        self._channel.basic_qos(prefetch_count=2 * WINDOW)
        self._channel.basic_consume(self._queue, self._arrived)
        for _ in range(WINDOW):
            self._publish(None)
        self._began = time.monotonic()
        self._connection.ioloop.call_later(SECONDS, self._end)

    def _publish(self, caused_by: int | None) -> None:
        self._channel.basic_publish("", self._queue, self._body, PERSISTENT, mandatory=True)
        self._tag += 1
        self._under_way[self._tag] = caused_by

    def _arrived(self, _channel: object, method: Any, _properties: object, _body: bytes) -> None:
        self._publish(method.delivery_tag)

    def _confirmed(self, frame: Any) -> None:
        tag = frame.method.delivery_tag
        tags = [t for t in self._under_way if t <= tag] if frame.method.multiple else [tag]
        for one in tags:
            caused_by = self._under_way.pop(one)
            if caused_by is not None:
                self._channel.basic_ack(caused_by)
                self.hops += 1

    def _end(self) -> None:
        self.seconds = time.monotonic() - self._began
        self._channel.queue_delete(self._queue)
        self._connection.add_on_close_callback(lambda *_: self._connection.ioloop.stop())
        self._connection.close()


class Hopper:
    """Each delivery is settled with its successor; the bus does the rest. `logs` records go with each."""

    def __init__(self, bus: RabbitBus, flows: int, logs: int) -> None:
        self._bus = bus
        self._logs = logs
        self.hops = 0
        self._ending = threading.Event()
        bus.consume(self._hop, WINDOW)
        first = [_message(f"flow {n % flows}") for n in range(WINDOW)]
        bus.publish(first).result()

    def _hop(self, delivery: Delivery) -> None:
        before = delivery.message
        settlement = Settlement(logs=[_record(before, n) for n in range(self._logs)])
        if not self._ending.is_set():
            settlement.publishes.append(replace(before, id=derived_id(before.id, "hop")))
        self._bus.settle(delivery, settlement).add_done_callback(self._done)

    def _done(self, _future: object) -> None:
        self.hops += 1

    def run(self) -> tuple[int, float]:
        begun, hops = time.monotonic(), self.hops
        time.sleep(SECONDS)
        made, seconds = self.hops - hops, time.monotonic() - begun
        self._ending.set()
        while self._bus.depth():
            time.sleep(0.05)
        self._bus.stop_consuming()
        return made, seconds


def _message(flow_id: str) -> Message:
    key = new_id()
    return Message(key, flow_id, 1, 1, "component", key, "in", "x" * BODY, {}, 1_790_000_000_000)


def _record(message: Message, number: int) -> Doc:
    return {
        "id": f"{message.id}.{number}", "created": message.created, "severity": "info", "flowId": message.flow_id,
        "componentId": message.component_id, "correlationId": message.correlation_id, "msg": "x" * 200,
    }  # fmt: skip


class Drain:
    """Takes the log records as the indexer does, without doing anything with them."""

    def __init__(self, bus: RabbitBus) -> None:
        self._bus = bus
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ending.wait(0.1):
            batch = self._bus.take_logs(4_000, 0.1)
            if batch is not None:
                self._bus.logs_done(batch)

    def close(self) -> None:
        self._ending.set()
        self._thread.join()


def latency(bus: RabbitBus, count: int = 500) -> float:
    """Median seconds from publishing one message, with nothing else under way, to its being settled."""
    taken: list[float] = []
    settled = threading.Semaphore(0)

    def handle(delivery: Delivery) -> None:
        bus.settle(delivery, Settlement()).add_done_callback(lambda _: settled.release())

    bus.consume(handle, 10)
    for _ in range(count):
        begun = time.perf_counter()
        bus.publish([_message("alone")]).result()
        settled.acquire()
        taken.append(time.perf_counter() - begun)
    bus.stop_consuming()
    return sorted(taken)[count // 2]


def show(name: str, hops: int, seconds: float, own: float, broker: float) -> None:
    print(
        f"{name:<40} {hops / seconds:>8,.0f} hops/s   CPU per hop: client {own / hops * 1e6:>4.0f} µs, "
        f"broker {broker / hops * 1e6:>4.0f} µs",
        flush=True,
    )


@contextmanager
def measured(broker: psutil.Process | None) -> Iterator[Callable[[], tuple[float, float]]]:
    """A function that says how much processor time this process and the broker have used since."""

    def used(process: psutil.Process | None) -> float:
        return sum(process.cpu_times()[:2]) if process is not None else 0.0

    own = psutil.Process()
    before = used(own), used(broker)
    yield lambda: (used(own) - before[0], used(broker) - before[1])


def measure(url: str, broker: psutil.Process | None) -> None:
    for size in (100, BODY):
        with measured(broker) as used:
            raw = Raw(url.split(",")[0], size)
            show(f"driver alone, {size} bytes, window {WINDOW}", raw.hops, raw.seconds, *used())
    for flows, logs in ((1, 0), (50, 0), (50, 2)):
        bus = RabbitBus(url, lambda _writes, _states: None)
        drain = Drain(bus)
        hopper = Hopper(bus, flows, logs)
        with measured(broker) as used:
            hops, seconds = hopper.run()
            show(f"bus, {flows} flows, {logs} records a hop", hops, seconds, *used())
        if not logs:
            print(
                f"{'  one message alone, published to settled':<40} {latency(bus) * 1e3:>8.2f} ms (median)", flush=True
            )
        drain.close()
        bus.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="measure this broker")
    url = parser.parse_args().url
    if url:
        measure(url, None)
        return
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        server = rabbit.start(Path(folder), free_port(), die_with_parent=True)
        try:
            process = server.nodes[0].process
            measure(server.url, psutil.Process(process.pid) if process is not None else None)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
