"""Any JSON at all as a flow: stored as it is or refused with the place named; never a crash."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadRequest, HeadraceError, TooLarge
from engine.rules.acl import Caller
from engine.services.flow_record import WRITABLE, public_flow, read_changes

LIMIT = 10_000
CALLER = Caller("u1", "ann", "ann", frozenset(("user",)))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=15,
)
IDS = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
LINKS = st.dictionaries(IDS, st.dictionaries(IDS, st.lists(st.text(min_size=1, max_size=5), max_size=2), max_size=2))
STEPS = st.fixed_dictionaries(
    {"type": st.just("a.b.C")},
    optional={"source": LINKS, "config": st.fixed_dictionaries({"properties": st.dictionaries(st.text(), JSON)})},
)


def read(body: Any) -> tuple[dict[str, Any], HeadraceError | None]:
    try:
        return read_changes(body, LIMIT), None
    except (BadRequest, TooLarge) as error:
        return {}, error


@given(JSON | st.dictionaries(st.sampled_from(WRITABLE), JSON))
def test_anything_is_taken_or_refused_with_a_reason(body: Any) -> None:
    changes, refusal = read(body)
    assert set(changes) <= set(WRITABLE)
    assert refusal is None or refusal.message


@given(st.dictionaries(IDS, JSON))
def test_any_descriptor_is_taken_as_it_is_or_refused_with_its_path(flow: dict[str, Any]) -> None:
    changes, refusal = read({"flow": flow})
    if refusal is None:
        assert changes == {"flow": flow}
    elif isinstance(refusal, BadRequest):
        assert refusal.details[0]["path"].startswith("flow.")


@given(st.dictionaries(IDS, STEPS, max_size=4), st.text(max_size=50))
def test_what_is_saved_is_shown_again_unchanged(flow: dict[str, Any], name: str) -> None:
    changes = read_changes({"flow": flow, "name": name}, 10 * LIMIT)
    record = {"_id": "f", "userId": "u1", "btime": 0, **changes}
    shown = public_flow(record, CALLER)
    assert (shown["flow"], shown["name"], shown["btime"]) == (flow, name, "1970-01-01T00:00:00.000Z")
    assert public_flow(record, CALLER, include=("name",)) == {"flowId": "f", "name": name}
    assert "flow" not in public_flow(record, CALLER, exclude=("flow",))
