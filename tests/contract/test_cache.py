"""Contract of `ports.Cache`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import BadRequest
from engine.ports import Cache

Together = Callable[..., list[Any]]
PassTime = Callable[[int], None]


def test_a_value_lives_as_long_as_it_was_given(cache: Cache, pass_time: PassTime) -> None:
    cache.set("k", {"a": [1, None, "ü"]}, ttl=2)
    pass_time(1_900)
    assert cache.get("k") == {"a": [1, None, "ü"]}
    pass_time(200)
    assert cache.get("k") is None


def test_setting_again_renews(cache: Cache, pass_time: PassTime) -> None:
    cache.set("k", 1, ttl=2)
    pass_time(1_500)
    cache.set("k", 2, ttl=2)
    pass_time(1_500)
    assert cache.get("k") == 2


def test_delete(cache: Cache) -> None:
    cache.set("k", 1, ttl=60)
    cache.delete("k")
    cache.delete("k")
    assert cache.get("k") is None


def test_several_are_deleted_together(cache: Cache) -> None:
    for key in "abc":
        cache.set(key, 1, ttl=60)
    cache.delete("a", "c", "none")
    assert [cache.get(key) for key in "abc"] == [None, 1, None]


def test_a_value_is_added_once_until_it_lapses(cache: Cache, pass_time: PassTime) -> None:
    assert cache.add("k", 1, ttl=2)
    assert not cache.add("k", 2, ttl=60)
    assert cache.get("k") == 1
    pass_time(2_100)
    assert cache.add("k", 3, ttl=2)
    assert cache.get("k") == 3
    with pytest.raises(BadRequest, match="'other'"):
        cache.add("other", object(), ttl=60)


def test_a_value_is_added_by_exactly_one(cache: Cache, together: Together) -> None:
    assert sorted(together(lambda who: cache.add("k", who, ttl=600))) == [False] * 7 + [True]


def test_values_locks_and_slots_of_one_name_do_not_meet(cache: Cache) -> None:
    cache.set("k", 1, ttl=60)
    assert cache.lock("k", "a", ttl=60)
    assert cache.acquire_slot("k", "a", 1, ttl=60)
    cache.delete("k")
    assert not cache.lock("k", "b", ttl=60)
    assert not cache.acquire_slot("k", "b", 1, ttl=60)


def test_values_are_not_shared(cache: Cache) -> None:
    value = [1]
    cache.set("k", value, ttl=60)
    value.append(2)
    cache.get("k").append(3)
    assert cache.get("k") == [1]


def test_only_json_is_kept(cache: Cache) -> None:
    with pytest.raises(BadRequest, match="'k'"):
        cache.set("k", object(), ttl=60)


def test_counters_count_within_a_window_of_fixed_length(cache: Cache, pass_time: PassTime) -> None:
    assert cache.incr("n", 1, ttl=2) == 1
    pass_time(1_500)
    assert cache.incr("n", 5, ttl=2) == 6
    assert cache.get("n") == 6
    assert cache.incr("n", -2, ttl=2) == 4
    pass_time(600)
    assert cache.incr("n", 1, ttl=2) == 1


def test_only_whole_numbers_are_counted(cache: Cache) -> None:
    cache.set("k", "text", ttl=60)
    with pytest.raises(BadRequest, match="'k'"):
        cache.incr("k", 1, ttl=60)


def test_threads_counting_together_lose_nothing(cache: Cache, together: Together) -> None:
    results = together(lambda _who: [cache.incr("n", 1, ttl=600) for _ in range(500)])
    assert sorted(value for some in results for value in some) == list(range(1, 4_001))


def test_a_lock_has_one_owner_who_may_renew_it(cache: Cache, pass_time: PassTime) -> None:
    assert cache.lock("l", "a", ttl=2)
    assert not cache.lock("l", "b", ttl=2)
    assert cache.lock("other", "b", ttl=2)
    pass_time(1_500)
    assert cache.lock("l", "a", ttl=2)
    pass_time(1_500)
    assert not cache.lock("l", "b", ttl=2)
    assert not cache.unlock("l", "b")
    assert cache.unlock("l", "a")
    assert not cache.unlock("l", "a")
    assert cache.lock("l", "b", ttl=2)


def test_a_lapsed_lock_goes_to_the_next_owner(cache: Cache, pass_time: PassTime) -> None:
    cache.lock("l", "a", ttl=2)
    pass_time(2_100)
    assert not cache.unlock("l", "a")
    cache.lock("l", "a", ttl=2)
    pass_time(2_100)
    assert cache.lock("l", "b", ttl=2)
    assert not cache.unlock("l", "a")


def test_a_lock_is_won_by_exactly_one(cache: Cache, together: Together) -> None:
    assert sorted(together(lambda who: cache.lock("l", str(who), ttl=600))) == [False] * 7 + [True]


def test_subscribers_hear_their_channel_until_they_leave(cache: Cache) -> None:
    heard: list[str] = []
    leave_first = cache.subscribe("c", lambda text: heard.append(f"1{text}"))
    leave_second = cache.subscribe("c", lambda text: heard.append(f"2{text}"))
    cache.publish("c", "a")
    cache.publish("other", "b")
    leave_first()
    leave_first()
    cache.publish("c", "ü")
    leave_second()
    cache.publish("c", "d")
    assert heard == ["1a", "2a", "2ü"]


def test_the_same_handler_may_subscribe_twice(cache: Cache) -> None:
    heard: list[str] = []
    leave = cache.subscribe("c", heard.append)
    cache.subscribe("c", heard.append)
    leave()
    cache.publish("c", "a")
    assert heard == ["a"]


def test_a_failing_subscriber_stops_no_other(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[str] = []

    def fail(_text: str) -> None:
        raise ValueError("broken subscriber")

    cache.subscribe("c", fail)
    cache.subscribe("c", heard.append)
    with caplog.at_level(logging.ERROR):
        cache.publish("c", "a")
    assert heard == ["a"]
    assert "broken subscriber" in caplog.text


def test_a_subscriber_may_use_the_cache(cache: Cache) -> None:
    def hear(text: str) -> None:
        leave()
        cache.set(text, 1, ttl=60)

    leave = cache.subscribe("c", hear)
    cache.publish("c", "k")
    assert cache.get("k") == 1


def test_slots_are_given_in_order_of_arrival(cache: Cache) -> None:
    assert cache.acquire_slot("q", "a", 2, ttl=60)
    assert cache.acquire_slot("q", "b", 2, ttl=60)
    assert not cache.acquire_slot("q", "c", 2, ttl=60)
    assert not cache.acquire_slot("q", "d", 2, ttl=60)
    assert cache.acquire_slot("q", "a", 2, ttl=60)
    cache.release_slot("q", "a")
    assert not cache.acquire_slot("q", "d", 2, ttl=60)
    assert cache.acquire_slot("q", "c", 2, ttl=60)
    cache.release_slot("q", "b")
    assert cache.acquire_slot("q", "d", 2, ttl=60)
    assert cache.acquire_slot("other", "z", 1, ttl=60)


def test_several_free_slots_go_to_the_first_waiting_whoever_asks_first(cache: Cache) -> None:
    for ticket in "abcde":
        cache.acquire_slot("q", ticket, 2, ttl=60)
    cache.release_slot("q", "a")
    cache.release_slot("q", "b")
    assert not cache.acquire_slot("q", "e", 2, ttl=60)
    assert cache.acquire_slot("q", "d", 2, ttl=60)
    assert cache.acquire_slot("q", "c", 2, ttl=60)


def test_leaving_the_queue_lets_the_next_move_up(cache: Cache) -> None:
    for ticket in "abc":
        cache.acquire_slot("q", ticket, 1, ttl=60)
    cache.release_slot("q", "b")
    cache.release_slot("q", "unknown")
    cache.release_slot("no such queue", "a")
    cache.release_slot("q", "a")
    assert cache.acquire_slot("q", "c", 1, ttl=60)


def test_slots_and_places_lapse(cache: Cache, pass_time: PassTime) -> None:
    assert cache.acquire_slot("q", "a", 1, ttl=2)
    assert not cache.acquire_slot("q", "b", 1, ttl=2)
    assert not cache.acquire_slot("q", "c", 1, ttl=4)
    pass_time(2_500)
    assert cache.acquire_slot("q", "c", 1, ttl=4)
    assert not cache.acquire_slot("q", "a", 1, ttl=4)


def test_a_slot_lapses_while_others_are_held(cache: Cache, pass_time: PassTime) -> None:
    assert cache.acquire_slot("q", "a", 2, ttl=2)
    assert cache.acquire_slot("q", "b", 2, ttl=60)
    assert not cache.acquire_slot("q", "c", 2, ttl=60)
    pass_time(2_500)
    assert cache.acquire_slot("q", "c", 2, ttl=60)
    assert not cache.acquire_slot("q", "a", 2, ttl=60)


def test_a_slot_is_renewed_for_longer_and_for_shorter(cache: Cache, pass_time: PassTime) -> None:
    assert cache.acquire_slot("q", "a", 1, ttl=2)
    assert cache.acquire_slot("q", "a", 1, ttl=60)
    pass_time(2_500)
    assert not cache.acquire_slot("q", "b", 1, ttl=600)
    assert cache.acquire_slot("q", "a", 1, ttl=2)
    pass_time(2_500)
    assert cache.acquire_slot("q", "b", 1, ttl=2)


def test_never_more_than_the_limit_hold_a_slot(cache: Cache, together: Together) -> None:
    assert sum(together(lambda who: cache.acquire_slot("q", str(who), 3, ttl=600))) == 3


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=40), st.integers(1, 3), st.uuids())
def test_slots_never_exceed_the_limit_and_never_overtake(
    cache: Cache, steps: list[tuple[bool, int]], limit: int, key: Any
) -> None:
    holders: set[int] = set()
    waiting: list[int] = []
    for ask, ticket in steps:
        if not ask:
            cache.release_slot(str(key), str(ticket))
            holders.discard(ticket)
            waiting = [other for other in waiting if other != ticket]
            continue
        if ticket not in holders and ticket not in waiting:
            waiting.append(ticket)
        first = waiting[: limit - len(holders)]
        granted = cache.acquire_slot(str(key), str(ticket), limit, ttl=600)
        assert granted == (ticket in holders or ticket in first)
        if granted and ticket in waiting:
            waiting.remove(ticket)
            holders.add(ticket)
        assert len(holders) <= limit
    for ticket in range(6):
        cache.release_slot(str(key), str(ticket))
