"""Descriptors run out, a signal comes in the middle, one of the two processes dies."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time

import psutil
import urllib3

from tests.integration.faults.conftest import Shop, limit, until


def test_no_descriptors_left(shop: Shop) -> None:
    shop.open()
    assert shop.order("before").status == 200
    worker = shop.worker
    former = limit(worker.pid, resource.RLIMIT_NOFILE, 16)
    fresh = [urllib3.PoolManager(retries=False) for _ in range(40)]
    answers = [shop.order(f"during{n}", pool) for n, pool in enumerate(fresh)]
    refused = [call for call in answers if call.status != 200]
    assert refused
    for call in refused:
        shop.refused(call)
    limit(worker.pid, resource.RLIMIT_NOFILE, former)
    until(shop.well, "recovery")
    assert shop.order("after", urllib3.PoolManager(retries=False)).status == 200
    assert shop.worker.pid == worker.pid
    assert shop.stored() == shop.accepted


def test_sigterm_in_the_middle(shop: Shop) -> None:
    shop.open()
    numbers = iter(range(100_000))
    stop = threading.Event()
    calls = []

    def customer() -> None:
        while not stop.is_set():
            calls.append(shop.order(f"o{next(numbers)}"))

    customers = [threading.Thread(target=customer, daemon=True) for _ in range(8)]
    for thread in customers:
        thread.start()
    until(lambda: len(shop.accepted) > 200, "some orders")
    assert shop.process is not None
    shop.process.send_signal(signal.SIGTERM)
    assert shop.process.wait(30) == 0
    stop.set()
    for thread in customers:
        thread.join(30)
    assert {call.status for call in calls} <= {200, 503, 0}
    shop.start()
    assert shop.accepted <= shop.stored()


def test_the_serving_process_is_started_again(shop: Shop) -> None:
    shop.open()
    assert shop.order("before").status == 200
    assert shop.process is not None
    died = shop.worker
    died.send_signal(signal.SIGKILL)
    began = time.monotonic()
    until(lambda: not died.is_running() or died.status() == psutil.STATUS_ZOMBIE, "its end")
    until(shop.well, "a new process")
    took = time.monotonic() - began
    print(f"\nserving again after {took:.2f} s")  # noqa: T201 - the figure is a result
    assert shop.process.poll() is None
    assert shop.worker.pid != died.pid
    assert shop.order("after").status == 200
    assert shop.stored() == shop.accepted


def test_a_serving_process_without_a_supervisor_ends(shop: Shop) -> None:
    shop.open()
    assert shop.order("before").status == 200
    assert shop.process is not None
    orphan = shop.worker
    os.kill(shop.process.pid, signal.SIGKILL)
    shop.process.wait(10)
    shop.start()  # waits for the folder until the orphan has ended
    until(lambda: not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE, "its end")
    until(shop.well, "the new server")
    assert shop.order("after").status == 200
    assert shop.stored() == shop.accepted
