from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import TooManyRequests
from webapp import limits
from webapp.limits import Rate, caller_address


class Time:
    seconds = 0.0


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr(limits, "monotonic", lambda: made.seconds)
    return made


def taken(rate: Rate, key: str, tries: Iterator[int]) -> int:
    """Calls until the first refusal."""
    for n in tries:
        try:
            rate.check(key)
        except TooManyRequests:
            return n
    raise AssertionError


@given(st.floats(0.1, 5000), st.floats(0.5, 20), st.lists(st.floats(0, 3), min_size=1, max_size=30))
def test_never_more_than_the_rate_and_a_burst(per_second: float, burst: float, pauses: list[float]) -> None:
    time = Time()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "monotonic", lambda: time.seconds)
        rate = Rate(per_second, burst, "calls")
        allowed = 0
        for pause in pauses:
            time.seconds += pause
            for _ in range(5):
                try:
                    rate.check("k")
                except TooManyRequests:
                    continue
                allowed += 1
        assert allowed <= per_second * (burst + time.seconds) + 1.001


def test_the_wait_named_is_enough(time: Time) -> None:
    rate = Rate(0.5, 2.0, "calls")
    assert taken(rate, "k", count()) == 1
    with pytest.raises(TooManyRequests) as caught:
        rate.check("k")
    time.seconds += caught.value.details[0]["retryAfter"]
    rate.check("k")


def test_callers_of_the_past_are_forgotten(time: Time) -> None:
    rate = Rate(10.0, 5.0, "calls")
    for n in range(limits.SWEEP_AT * 3):
        rate.check(f"k{n}")
        time.seconds += 0.01
    assert len(rate) <= limits.SWEEP_AT + 1


def test_no_rate_no_limit() -> None:
    rate = Rate(0.0, 5.0, "calls")
    for _ in range(10_000):
        rate.check("k")
    assert len(rate) == 0


@pytest.mark.parametrize(
    ("environ", "proxies", "address"),
    [
        ({"REMOTE_ADDR": "192.0.2.1"}, 0, "192.0.2.1"),
        ({"REMOTE_ADDR": "192.0.2.1", "HTTP_X_FORWARDED_FOR": "192.0.2.9"}, 0, "192.0.2.1"),
        ({"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": "192.0.2.9"}, 1, "192.0.2.9"),
        ({"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": "192.0.2.8, 192.0.2.9"}, 1, "192.0.2.9"),
        ({"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": "192.0.2.9"}, 2, "10.0.0.1"),
        ({"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": "nonsense"}, 1, "10.0.0.1"),
        ({"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": "192.0.2.9:4711"}, 1, "192.0.2.9"),
        ({"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": "[2001:db8::1]:4711"}, 1, "2001:db8::"),
        ({"REMOTE_ADDR": "2001:db8:1:2:3:4:5:6"}, 0, "2001:db8:1:2::"),
        ({"REMOTE_ADDR": "::ffff:192.0.2.1"}, 0, "192.0.2.1"),
        ({"REMOTE_ADDR": ""}, 0, ""),
        ({}, 0, ""),
    ],
)
def test_the_callers_address(environ: dict[str, str], proxies: int, address: str) -> None:
    assert caller_address(environ, proxies) == address
