from __future__ import annotations

from typing import Any

import pytest

from connectors.appmixer.utils.http.Uptime.component import duration
from engine.sdk import StepError
from tests.connectors.recorder import Recorder
from tests.connectors.world import World

SITE = "https://site.test/"


def watch(world: World, target: Any = SITE) -> Recorder:
    return Recorder("appmixer.utils.http.Uptime", properties={"target": target}, world=world)


def tick(recorder: Recorder, status: int | StepError) -> list[tuple[str, Any]]:
    if isinstance(status, StepError):
        recorder.world.http.fail(status)
    else:
        recorder.world.http.answer(status)
    return recorder.tick().take()


@pytest.mark.parametrize("status", [200, 301, 404, 499])
def test_the_first_tick_tells_that_the_site_is_up(status: int) -> None:
    recorder = watch(World())
    zero = {"downTimeMs": 0, "downTimeText": "0 seconds"}
    assert tick(recorder, status) == [("up", {"target": SITE, "statusCode": status, **zero})]
    assert tick(recorder, 200) == []


def test_the_first_tick_tells_that_the_site_is_down() -> None:
    recorder = watch(World())
    assert tick(recorder, 503) == [("down", {"target": SITE, "statusCode": 503})]
    assert tick(recorder, 500) == []


def test_the_time_down_counts_from_when_it_went_down() -> None:
    recorder = watch(World())
    tick(recorder, 200)
    recorder.world.advance(60_000)
    down = tick(recorder, StepError("refused", code="ECONNREFUSED"))
    assert down == [("down", {"target": SITE, "statusCode": None})]
    for _ in range(3):
        recorder.world.advance(60_000)
        assert tick(recorder, 502) == []
    recorder.world.advance(65_000)
    [(port, up)] = tick(recorder, 200)
    assert port == "up"
    assert up == {"target": SITE, "statusCode": 200, "downTimeMs": 245_000, "downTimeText": "4 minutes 5 seconds"}
    tick(recorder, 500)
    recorder.world.advance(1_000)
    assert tick(recorder, 200)[0][1]["downTimeMs"] == 1_000


def test_a_refusal_by_this_installation_says_nothing_about_the_site() -> None:
    recorder = watch(World())
    with pytest.raises(StepError, match="private"):
        tick(recorder, StepError("private", code="EACCES", retryable=False))


def test_ticks_do_not_overlap() -> None:
    recorder = watch(World())
    recorder.world.locks.add("c1")
    with pytest.raises(StepError) as caught:
        recorder.tick()
    assert caught.value.code == "LOCK_NOT_ACQUIRED"


@pytest.mark.parametrize("target", ["ftp://x", "site.test", "", None])
def test_other_addresses_stop_the_start(target: Any) -> None:
    with pytest.raises(StepError, match="target: must be an http or https address"):
        watch(World(), target).start()


def test_a_good_address_starts() -> None:
    assert watch(World()).start().sent == []


@pytest.mark.parametrize(
    "milliseconds, text",
    [(0, "0 seconds"), (999, "0 seconds"), (1_000, "1 second"), (3_661_000, "1 hour 1 minute"),
     (2 * 86_400_000 + 5_000, "2 days 5 seconds"), (59 * 60_000, "59 minutes")],
)  # fmt: skip
def test_durations(milliseconds: int, text: str) -> None:
    assert duration(milliseconds) == text
