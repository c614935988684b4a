"""Contract of `ports.State`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import BadRequest
from engine.ports import State

Together = Callable[..., list[Any]]
OWNER = "component:c1"
HOUR = 3_600_000


def test_a_new_owner_has_nothing(state: State) -> None:
    assert state.load(OWNER) == {}
    assert state.get(OWNER, "key") is None


def test_set_and_unset(state: State) -> None:
    assert state.apply(OWNER, "1", "set", "a", {"x": [1, None]}) is None
    state.apply(OWNER, "2", "set", "ü.'\"", "text")
    state.apply(OWNER, "3", "set", "null", None)
    assert state.load(OWNER) == {"a": {"x": [1, None]}, "ü.'\"": "text", "null": None}
    assert state.get(OWNER, "a") == {"x": [1, None]}
    state.apply(OWNER, "4", "set", "a", 2)
    state.apply(OWNER, "5", "unset", "null")
    state.apply(OWNER, "6", "unset", "never there")
    assert state.load(OWNER) == {"a": 2, "ü.'\"": "text"}


def test_inc_starts_at_zero_and_tells_the_new_value(state: State) -> None:
    assert state.apply(OWNER, "1", "inc", "n") == 1
    assert state.apply(OWNER, "2", "inc", "n", 5) == 6
    assert state.apply(OWNER, "3", "inc", "n", -0.5) == 5.5
    assert state.get(OWNER, "n") == 5.5


def test_sets_hold_each_value_once(state: State) -> None:
    assert state.apply(OWNER, "1", "add_to_set", "s", {"a": 1, "b": 2}) is True
    assert state.apply(OWNER, "2", "add_to_set", "s", {"b": 2, "a": 1}) is False
    assert state.apply(OWNER, "3", "add_to_set", "s", 1) is True
    assert state.apply(OWNER, "4", "add_to_set", "s", True) is True
    assert state.apply(OWNER, "5", "remove_from_set", "s", 1) is True
    assert state.apply(OWNER, "6", "remove_from_set", "s", 1) is False
    assert state.apply(OWNER, "7", "remove_from_set", "other", 1) is False
    assert state.get(OWNER, "s") == [{"a": 1, "b": 2}, True]


def test_save_replaces_and_clear_removes_everything(state: State) -> None:
    state.apply(OWNER, "1", "set", "old", 1)
    state.apply(OWNER, "2", "save", "", {"a": 1, "b": [2]})
    assert state.load(OWNER) == {"a": 1, "b": [2]}
    state.apply(OWNER, "3", "clear", "")
    assert state.load(OWNER) == {}


def test_keys_and_values_may_be_any_json(state: State) -> None:
    values = {"": {"$ref": 1, "\0": [{"\ue000": 2**64 - 1}]}, "\0": 1.0, "a\0b": 1_790_000_000_000, "$inc": {"": None}}
    state.apply(OWNER, "1", "save", "", values)
    state.apply(OWNER, "2", "add_to_set", "\ue000", {"$x": 1})
    assert state.apply(OWNER, "3", "add_to_set", "\ue000", {"$x": 1}) is False
    assert state.apply(OWNER, "4", "inc", "\0", 2**63) == 2**63 + 1.0
    assert state.load(OWNER) == {**values, "\0": 2**63 + 1.0, "\ue000": [{"$x": 1}]}
    assert type(state.get(OWNER, "a\0b")) is int
    state.apply(OWNER, "5", "set", "n", {1: "one"})
    assert state.get(OWNER, "n") == {"1": "one"}


def test_an_owner_may_have_many_keys(state: State) -> None:
    many = {f"key {number}": number for number in range(3_000)}
    state.apply(OWNER, "1", "save", "", many)
    state.apply(OWNER + "2", "1", "set", "k", 1)
    fewer = {f"key {number}": -number for number in range(2_000, 4_000)}
    state.apply(OWNER, "2", "save", "", fewer)
    assert state.apply(OWNER, "3", "inc", "key 3999") == -3998
    state.apply(OWNER, "1", "save", "", many)
    assert state.load(OWNER) == {**fewer, "key 3999": -3998}
    state.apply(OWNER, "4", "clear", "")
    assert state.load(OWNER) == {}
    assert state.load(OWNER + "2") == {"k": 1}


def test_owners_do_not_see_each_other(state: State) -> None:
    state.apply("flow:1", "1", "set", "k", 1)
    state.apply("flow:2", "1", "set", "k", 2)
    state.apply("flow:2", "2", "clear", "")
    assert state.load("flow:1") == {"k": 1}


@pytest.mark.parametrize(
    ("verb", "key", "value", "message"),
    [
        ("inc", "text", 1, "'text'"),
        ("inc", "flag", 1, "'flag'"),
        ("inc", "n", "1", "'n'"),
        ("inc", "n", 2**64, "'n'"),
        ("add_to_set", "text", 1, "not a set"),
        ("remove_from_set", "n", 1, "not a set"),
        ("set", "n", object(), "'n'"),
        ("add_to_set", "s", object(), "'s'"),
        ("save", "", ["a"], OWNER),
        ("save", "", {"a": 1, "b": object()}, "'b'"),
    ],
)
def test_what_cannot_be_done_is_named_and_changes_nothing(
    state: State, verb: Any, key: str, value: Any, message: str
) -> None:
    before = {"text": "t", "flag": True, "n": 1}
    state.apply(OWNER, "0", "save", "", before)
    for _ in range(2):  # a failure is not remembered as done
        with pytest.raises(BadRequest, match=message):
            state.apply(OWNER, "1", verb, key, value)
    assert state.load(OWNER) == before


def test_a_repeated_operation_returns_its_first_result(state: State) -> None:
    assert state.apply(OWNER, "m:1", "inc", "n", 2) == 2
    assert state.apply(OWNER, "m:2", "add_to_set", "s", "x") is True
    assert state.apply(OWNER, "m:3", "inc", "n", 2) == 4
    assert state.apply(OWNER, "m:1", "inc", "n", 2) == 2
    assert state.apply(OWNER, "m:2", "add_to_set", "s", "x") is True
    assert state.load(OWNER) == {"n": 4, "s": ["x"]}


def test_operation_ids_belong_to_an_owner(state: State) -> None:
    assert state.apply("flow:1", "m:1", "inc", "n") == 1
    assert state.apply("flow:2", "m:1", "inc", "n") == 1


def test_operation_ids_are_kept_for_an_hour(state: State, pass_time: Callable[[int], None]) -> None:
    state.apply(OWNER, "m:1", "inc", "n")
    pass_time(HOUR - 1)
    assert state.apply(OWNER, "m:1", "inc", "n") == 1
    pass_time(1)
    assert state.apply(OWNER, "m:1", "inc", "n") == 2
    assert state.apply(OWNER, "m:1", "inc", "n") == 2


def test_drop_forgets_the_keys_but_not_what_was_done(state: State) -> None:
    state.apply(OWNER, "m:1", "inc", "n")
    state.apply("component:other", "m:1", "inc", "n")
    state.drop(OWNER)
    state.apply(OWNER, "m:1", "inc", "n")
    assert state.load(OWNER) == {}
    assert state.load("component:other") == {"n": 1}


def test_threads_counting_together_lose_nothing(state: State, together: Together) -> None:
    results = together(lambda who: [state.apply(OWNER, f"{who}:{n}", "inc", "n") for n in range(25)])
    assert state.get(OWNER, "n") == 200
    assert sorted(value for some in results for value in some) == list(range(1, 201))


def test_the_same_operation_from_many_threads_counts_once(state: State, together: Together) -> None:
    assert together(lambda _who: state.apply(OWNER, "same", "inc", "n", 3)) == [3] * 8
    assert state.get(OWNER, "n") == 3


def test_one_of_many_adds_to_the_set(state: State, together: Together) -> None:
    assert sorted(together(lambda who: state.apply(OWNER, f"op{who}", "add_to_set", "s", "x"))) == [False] * 7 + [True]
    assert state.get(OWNER, "s") == ["x"]


KEYS = st.sampled_from(["a", "b"])
STEPS = st.one_of(
    st.tuples(st.just("set"), KEYS, st.integers(-5, 5)),
    st.tuples(st.just("unset"), KEYS, st.none()),
    st.tuples(st.just("inc"), KEYS, st.integers(-5, 5)),
    st.tuples(st.just("clear"), st.just(""), st.none()),
    st.tuples(st.just("save"), st.just(""), st.dictionaries(KEYS, st.integers(0, 3))),
)


def model(kept: dict[str, int], verb: str, key: str, value: Any) -> Any:
    if verb == "set":
        kept[key] = value
    elif verb == "unset":
        kept.pop(key, None)
    elif verb == "inc":
        kept[key] = kept.get(key, 0) + value
        return kept[key]
    else:
        kept.clear()
        kept.update(value or {})
    return None


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=12), again=st.lists(st.integers(0, 11), max_size=4))
def test_any_sequence_with_redeliveries_equals_the_sequence_alone(
    state: State, steps: list[tuple[Any, str, Any]], again: list[int]
) -> None:
    run = uuid4()  # an example may run more than once: each time on its own keys
    owner = f"component:{run}"
    kept: dict[str, int] = {}
    results: list[tuple[Any, str, Any, Any]] = []
    for number, (verb, key, value) in enumerate(steps):
        result = state.apply(owner, f"{run}:{number}", verb, key, value)
        results.append((verb, key, value, result))
        assert result == model(kept, verb, key, value)
        for earlier in again:
            if earlier < number:
                verb, key, value, first = results[earlier]
                assert state.apply(owner, f"{run}:{earlier}", verb, key, value) == first
    assert state.load(owner) == kept
