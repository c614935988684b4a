"""Copies of descriptors: every reference to a component follows it to its new id."""

from __future__ import annotations

from itertools import count
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.rules.cloning import clone_descriptor

LONG = "1f0396b0-22cc-405b-a032-e34bcc2e9eeb"


def clone(flow: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    numbers = count(1)
    return clone_descriptor(flow, lambda: f"new-{next(numbers)}")


def test_links_mappings_and_variables_follow() -> None:
    mapping = {
        "lambda": {"text": "{{{$.in.out.a}}} and $.in-2.out.b", "in": "in"},
        "modifiers": {"text": {"v1": {"variable": "$.in.out.a", "functions": []}}},
    }
    flow: dict[str, Any] = {
        "in": {"type": "a.b.C"},
        "next": {
            "type": "a.b.D",
            "source": {"in": {"in": ["out"], "gone": ["out"]}},
            "config": {"transform": {"in": {"in": {"out": mapping}}}, "properties": {"in": "in"}},
        },
    }
    copy, ids = clone(flow)
    assert ids == {"in": "new-1", "next": "new-2"}
    step = copy["new-2"]
    assert step["source"] == {"in": {"new-1": ["out"], "gone": ["out"]}}
    cloned = step["config"]["transform"]["in"]["new-1"]["out"]
    assert cloned["lambda"] == {"text": "{{{$.new-1.out.a}}} and $.in-2.out.b", "in": "in"}
    assert cloned["modifiers"]["text"]["v1"]["variable"] == "$.new-1.out.a"
    assert step["config"]["properties"] == {"in": "in"}


def test_a_property_that_names_a_component_follows() -> None:
    flow = {LONG: {"type": "a.b.C"}, "d": {"type": "a.b.D", "config": {"properties": {"target": LONG}}}}
    copy, ids = clone(flow)
    assert copy[ids["d"]]["config"]["properties"]["target"] == ids[LONG]


def test_an_empty_flow_and_odd_shapes() -> None:
    assert clone({}) == ({}, {})
    odd: dict[str, Any] = {"a": {"type": "t", "source": None, "config": {"transform": {"in": []}}}}
    assert clone(odd)[0] == {"new-1": odd["a"]}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(min_size=1), st.dictionaries(st.text(), JSON)))
def test_what_is_cloned_twice_back_and_forth_is_the_same(flow: dict[str, Any]) -> None:
    original = repr(flow)
    copy, ids = clone(flow)
    assert repr(flow) == original
    assert set(copy) == set(ids.values())
    back = {new: old for old, new in ids.items()}
    numbers = iter([back[new] for new in copy])
    again, _ = clone_descriptor(copy, lambda: next(numbers))
    assert list(again) == list(flow)
