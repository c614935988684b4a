"""The disk is full, or does not take any more: nothing is acknowledged, /health says so, and it passes by itself."""

from __future__ import annotations

import resource
from pathlib import Path

from tests.integration.faults.conftest import Shop, limit, until


def sick(shop: Shop, what: str) -> bool:
    status, reasons = shop.health()
    return status == 503 and any(what in reason for reason in reasons)


def test_files_that_may_not_grow(shop: Shop) -> None:
    shop.open()
    assert [shop.order(f"before{n}").status for n in range(5)] == [200] * 5
    assert {shop.order(f"queued{n}", query="?enqueueOnly=true").status for n in range(20)} == {202}
    worker = shop.worker.pid
    former = limit(worker, resource.RLIMIT_FSIZE, 4096)
    for n in range(5):
        shop.refused(shop.order(f"during{n}"))
    until(lambda: sick(shop, "headrace.db"), "a word in /health")
    answer = shop.http.request(
        "POST", f"{shop.url}/stores", body=b'{"name": "x"}',
        headers={"Authorization": f"Bearer {shop.token}", "Content-Type": "application/json"},
    )  # fmt: skip
    assert (answer.status, "Retry-After" in answer.headers) == (503, True)
    limit(worker, resource.RLIMIT_FSIZE, former)
    until(shop.well, "recovery without any traffic")
    assert [shop.order(f"after{n}").status for n in range(5)] == [200] * 5
    assert shop.worker.pid == worker
    until(lambda: shop.stored() == shop.accepted, "what was queued, and nothing that was refused")
    shop.kill()
    shop.start()
    assert shop.stored() == shop.accepted


def test_a_full_file_system(shop: Shop, small_disk: Path) -> None:
    shop.settings["HEADRACE_DATA"] = str(small_disk / "data")
    shop.open()
    assert shop.order("before").status == 200
    filler = small_disk / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                file.write(b"x" * 65536)
                file.flush()
        except OSError:
            pass
    number = 0
    while shop.order(f"filling{number}").status == 200:  # what the files have room for
        number += 1
        assert number < 5000
    shop.refused(shop.order("during"))
    until(lambda: sick(shop, "disk is full"), "a word in /health")
    filler.unlink()
    until(shop.well, "recovery without any traffic")
    assert shop.order("after").status == 200
    shop.kill()
    shop.start()
    assert shop.accepted <= shop.stored()
