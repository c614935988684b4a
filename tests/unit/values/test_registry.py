"""The set of modifiers as JSON, and an administrator's set in its place."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from engine.errors import BadRequest, StepError
from engine.values.frame import Call, FlowVariables, Frame
from engine.values.registry import Registry, builtin_registry, from_json

CALL = Call(Frame({}, FlowVariables(), "m1", 0), "p")


def apply(registry: Registry, name: str, value: Any, *params: Any, **named: Any) -> Any:
    modifier = registry.modifiers[name]
    return modifier.run(value, modifier.bind(params, named), CALL)


def test_the_json_form_has_the_shape_of_get_modifiers() -> None:
    data = orjson.loads(orjson.dumps(builtin_registry().to_json()))
    assert data["categories"]["text"] == {"label": "Text", "index": 3}
    one = data["modifiers"]["g_addTimeSpan"]
    assert one["name"] == "g_addTimeSpan"
    assert one["category"] == ["date"]
    assert {"name", "type", "isHash"} <= one["arguments"][0].keys()
    assert one["arguments"][0]["isHash"] is True
    assert one["returns"] == {"type": "date"}
    assert one["isBlock"] is False
    assert one["private"] is False
    assert "helperFn" not in one


def test_the_built_in_set_may_be_put_back_as_it_was_got() -> None:
    data = builtin_registry().to_json()
    again = from_json(orjson.loads(orjson.dumps(data)))
    assert again.modifiers == builtin_registry().modifiers
    assert apply(again, "g_add", 1, 2) == 3


CUSTOM = {
    "categories": {"mine": {"label": "Mine", "index": 1}},
    "modifiers": {
        "g_trim": {"label": "Cut", "category": ["mine"]},
        "g_double": {"label": "Double", "category": ["mine"], "helperFn": "v => v * 2"},
        "g_quadruple": {
            "label": "Quadruple",
            "category": "mine",
            "arguments": [{"name": "plus", "type": "number", "isHash": True}],
            "helperFn": """
                function (v, { hash, helpers }) {
                    return helpers.g_double(helpers.g_double(v)) + (hash.plus ?? 0);
                }""",
        },
        "g_add": {"label": "Add", "category": ["mine"], "helperFn": "(v, n) => `${v}&${n}`"},
        "g_nothing": {"label": "Nothing", "helperFn": "() => undefined"},
    },
}


def test_an_administrators_set_replaces_the_built_in_one() -> None:
    registry = from_json(CUSTOM)
    assert registry.to_json() == CUSTOM
    assert registry.get("g_first") is None
    assert apply(registry, "g_trim", " a ") == "a"
    assert apply(registry, "g_double", 2) == 4
    assert apply(registry, "g_quadruple", 2, plus=1) == 9
    assert apply(registry, "g_add", 1, 2) == "1&2"


def test_an_error_in_javascript_names_the_modifier() -> None:
    with pytest.raises(StepError, match='g_nothing: The function returned "undefined"'):
        apply(from_json(CUSTOM), "g_nothing", 1)


@pytest.mark.parametrize("raw", [None, [], "x", {}, {"modifiers": []}])
def test_what_is_no_set_is_refused(raw: Any) -> None:
    with pytest.raises(BadRequest, match="modifiers must be an object"):
        from_json(raw)


def test_every_wrong_place_is_named() -> None:
    raw = {
        "categories": [],
        "modifiers": {"g_a": 1, "g_b": {"label": "B"}, "g_c": {"helperFn": 5}, "g_d": {"helperFn": "v => v"}},
    }
    with pytest.raises(BadRequest) as caught:
        from_json(raw)
    assert [p["path"] for p in caught.value.details] == [
        "categories",
        "modifiers.g_a",
        "modifiers.g_b.helperFn",
        "modifiers.g_c.helperFn",
    ]
