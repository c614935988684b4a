"""Mappings and properties: placeholders, variables, modifiers in them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BadRequest, StepError
from engine.values.registry import builtin_registry, from_json
from engine.values.template import (
    Compiled,
    FlowVariables,
    Frame,
    compile_mapping,
    compile_properties,
    parse_variable,
)
from tests.needs import corpus

A, B = "6d1f0c6e-9a57-4a57-9c0e-2f6b8a3c1d01", "1b7e4f52-33c8-4d0e-8f59-7a90c2e4d002"
V, W = "c0a8f1e2-0001-4b6f-9d55-3e1f00000a01", "c0a8f1e2-0002-4b6f-9d55-3e1f00000a02"
REGISTRY = builtin_registry()
OUTPUT = {
    "data": {"lines": [{"sku": "a", "quantity": 2}], "total": 3.0, "paid": True, "note": None},
    "main.temp": 21,
    "list": [1, {"a": 2.0}],
    "text": "tea",
}
FRAME = Frame({A: {"request": OUTPUT}}, FlowVariables("flow-1", "Orders"), "m1", 1769847300000)


def compiled(lambda_: dict[str, Any], modifiers: dict[str, Any] | None = None, text: str = "") -> Compiled:
    return compile_mapping(lambda_, modifiers or {}, REGISTRY, text_fields=frozenset(text.split()))


def value(raw: Any, entries: dict[str, Any] | None = None, *, text: bool = False) -> Any:
    mapping = compiled({"f": raw}, {"f": entries or {}}, "f" if text else "")
    return mapping.evaluate(FRAME)["f"]


def path(tail: str, *functions: dict[str, Any]) -> dict[str, Any]:
    return {V: {"variable": f"$.{A}.request{tail}", "functions": list(functions)}}


PLACE = f"{{{{{{{V}}}}}}}"
OTHER = f"{{{{{{{W}}}}}}}"


@pytest.mark.parametrize(
    "tail,expected",
    [
        ("", OUTPUT),
        (".data.lines", OUTPUT["data"]["lines"]),  # type: ignore[index]
        (".data.total", 3.0),
        (".data.paid", True),
        (".text", "tea"),
        (".data.note", None),
        (".[main.temp]", 21),
        (".list.[0]", 1),
        (".list[1].a", 2.0),
        (".nowhere.at.all", None),
    ],
)
def test_one_placeholder_keeps_its_type(tail: str, expected: Any) -> None:
    result = value(PLACE, path(tail))
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    "tail,expected",
    [
        (".text", "tea"),
        (".data.total", "3"),
        (".data.paid", "true"),
        (".list", '[1,{"a":2}]'),
        (".data.lines[0]", '{"sku":"a","quantity":2}'),
        (".data.note", None),
        (".nowhere", None),
    ],
)
def test_one_placeholder_in_a_text_field_arrives_as_text_unless_it_is_nothing(tail: str, expected: Any) -> None:
    assert value(PLACE, path(tail), text=True) == expected


@pytest.mark.parametrize(
    "tail,expected",
    [
        (".text", "<tea>"),
        (".data.total", "<3>"),
        (".data.paid", "<true>"),
        (".list", '<[1,{"a":2}]>'),
        (".data.note", "<>"),
        (".nowhere", "<>"),
    ],
)
def test_within_text_values_are_interpolated(tail: str, expected: str) -> None:
    assert value(f"<{PLACE}>", path(tail)) == expected
    assert value(f"<{PLACE}>", path(tail), text=True) == expected


def test_several_placeholders_and_braces_of_other_kinds() -> None:
    entries = path(".text") | {W: {"variable": f"$.{A}.request.data.total"}}
    assert value(f"{PLACE}{OTHER}", entries) == "tea3"
    assert value(f'{{"a":{{"b":{OTHER}}}}}', entries) == '{"a":{"b":3}}'
    assert value(f"{{{{x}}}} {PLACE} {{{{{{", entries) == "{{x}} tea {{{"


def test_white_space_inside_the_braces_does_not_matter() -> None:
    assert value(f"{{{{{{ {V} }}}}}}", path(".list")) == OUTPUT["list"]


@pytest.mark.parametrize("text", ["{{{" + " " * 100_000, "{{{ " * 50_000, "{{{   }}}", "{{{}}}"])
def test_braces_without_an_end_or_anything_in_them_are_text_whatever_their_length(text: str) -> None:
    assert compile_mapping({"a": text}, {}, REGISTRY).evaluate(FRAME) == {"a": text}


@pytest.mark.parametrize(
    "raw,expected",
    [
        (f"{{{{{{$.{A}.request.[main.temp]}}}}}}", 21),
        (f"{{{{{{$.{A}.request.data.total}}}}}}", 3.0),
        (f"at {{{{{{$.{A}.request.[main.temp]}}}}}} degrees", "at 21 degrees"),
        (f"{{{{{{$.{A}.request}}}}}}", OUTPUT),
        (f"{{{{{{$.{B}.out.a}}}}}}", None),
    ],
)
def test_legacy_inline_variables(raw: str, expected: Any) -> None:
    assert value(raw) == expected


def test_a_variable_of_a_step_that_is_gone_is_nothing() -> None:
    gone = {V: {"variable": f"$.{B}.out.a", "functions": []}}
    assert value(PLACE, gone) is None
    assert value(PLACE, gone, text=True) is None
    assert value(f"a{PLACE}b", gone) == "ab"


@pytest.mark.parametrize("raw,expected", [(PLACE, None), (f"a{PLACE}", "a"), ("{{{name}}}", "{{{name}}}")])
def test_an_unknown_id_is_nothing_and_an_unknown_word_is_text(raw: str, expected: Any) -> None:
    assert value(raw) == expected
    assert not compiled({"f": "{{{name}}}"}).reads


def test_functions_apply_from_left_to_right() -> None:
    functions: list[dict[str, Any]] = [
        {"name": "g_first"},
        {"name": "g_jsonPath", "params": [{"value": "quantity"}]},
        {"name": "g_add", "params": [{"value": "1"}]},
    ]
    assert value(PLACE, path(".data.lines", *functions)) == 3


def test_a_chain_may_start_with_a_generator() -> None:
    first = value(PLACE, {V: {"functions": [{"name": "g_uuid4"}, {"name": "g_split", "params": [{"value": "-"}]}]}})
    assert [len(part) for part in first] == [8, 4, 4, 4, 12]
    assert value(PLACE, {V: {"functions": [{"name": "g_flowName"}]}}) == "Orders"
    assert value("{{{g_flowId}}}") == "flow-1"
    assert value("id {{{g_flowId}}}") == "id flow-1"


def test_random_values_are_the_same_for_the_same_message_and_differ_between_places() -> None:
    entries = {V: {"functions": [{"name": "g_uuid4"}]}, W: {"functions": [{"name": "g_uuid4"}]}}
    mapping = compiled({"a": PLACE, "b": f"{PLACE}", "c": OTHER}, {"a": entries, "b": entries, "c": entries})
    first = mapping.evaluate(FRAME)
    assert mapping.evaluate(FRAME) == first
    assert first["a"] != first["c"]
    assert mapping.evaluate(Frame({}, FRAME.flow, "m2", 0))["a"] != first["a"]


def test_named_arguments() -> None:
    spans = {"name": "g_addTimeSpan", "hashParams": {"days": {"value": 1}, "hours": {"value": "2"}}}
    assert value(PLACE, {V: {"functions": [{"name": "g_now"}, spans]}}) == "2026-02-01T10:15:00.000Z"


def test_arguments_may_hold_placeholders_with_modifiers_of_their_own() -> None:
    inner = {W: {"variable": f"$.{A}.request.data.lines", "functions": [{"name": "g_length"}]}}
    add = {"name": "g_add", "params": [{"value": OTHER, "modifiers": inner}]}
    assert value(PLACE, path(".data.total", add)) == 4
    default = {"name": "g_default", "params": [{"value": f"<{{{{{{$.{A}.request.text}}}}}}>"}]}
    mapping = compiled({"f": PLACE}, {"f": {V: {"variable": f"$.{B}.out", "functions": [default]}}})
    assert mapping.evaluate(FRAME) == {"f": "<tea>"}
    assert mapping.reads == {(A, "request"), (B, "out")}


def test_placeholders_may_be_anywhere_inside_a_field() -> None:
    raw = {"AND": [{"OR": [{"input": PLACE, "operator": ">=", "value": "10"}, {"input": f"x{PLACE}"}]}], "keep": [1]}
    assert value(raw, path(".data.total")) == {
        "AND": [{"OR": [{"input": 3.0, "operator": ">=", "value": "10"}, {"input": "x3"}]}],
        "keep": [1],
    }


def test_modifiers_belong_to_their_field_only_and_unused_ones_are_ignored() -> None:
    mapping = compiled({"a": PLACE, "b": PLACE}, {"a": path(".text"), "c": path(".list"), "b": {W: {"variable": "x"}}})
    assert mapping.evaluate(FRAME) == {"a": "tea", "b": None}
    assert mapping.reads == {(A, "request")}


def test_an_unknown_modifier_fails_the_message_and_not_the_flow() -> None:
    mapping = compiled({"f": PLACE}, {"f": path("", {"name": "g_gone"})})
    with pytest.raises(StepError, match="g_gone: there is no such modifier") as caught:
        mapping.evaluate(FRAME)
    assert caught.value.retry_hint is False


def test_wrong_literal_arguments_fail_the_message_and_not_the_flow() -> None:
    mapping = compiled({"f": PLACE}, {"f": path(".data.total", {"name": "g_add", "params": [{"value": "x"}]})})
    with pytest.raises(StepError, match='g_add: argument "number" must be a number, not text "x"'):
        mapping.evaluate(FRAME)


def test_reads_and_constant() -> None:
    assert compiled({"a": 1, "b": {"c": ["x"]}}).constant
    assert compiled({}).constant
    assert compiled({}).evaluate(FRAME) == {}
    assert compiled({"a": PLACE}).constant, "a lost variable is as good as a literal null"
    mapping = compiled({"a": PLACE, "b": 1}, {"a": path(".data")})
    assert not mapping.constant
    assert mapping.reads == {(A, "request")}
    assert not compiled({"a": "{{{g_now}}}"}).constant


def test_the_order_of_fields_is_kept_and_the_top_level_is_the_callers_own() -> None:
    mapping = compiled({"z": PLACE, "a": 1, "m": PLACE}, {"z": path(".text"), "m": path(".list")})
    first = mapping.evaluate(FRAME)
    assert list(first) == ["z", "a", "m"]
    first["new"] = 1
    assert "new" not in mapping.evaluate(FRAME)


def test_properties_use_flow_variables() -> None:
    modifiers = {"url": {V: {"functions": [{"name": "g_webhookUrl"}]}}}
    properties = compile_properties({"url": PLACE, "id": "{{{g_flowId}}}", "n": 1}, modifiers, REGISTRY)
    flow = FlowVariables("flow-1", url="https://example.com")
    result = properties.evaluate(Frame({}, flow, "m1", 0, "c1"))
    assert result == {"url": "https://example.com/flows/flow-1/components/c1", "id": "flow-1", "n": 1}


def test_modifiers_of_an_administrator() -> None:
    registry = from_json({"modifiers": {"g_shout": {"helperFn": "(v, { hash }) => v.toUpperCase() + hash.mark"}}})
    shout = {"name": "g_shout", "hashParams": {"mark": {"value": "!"}}}
    mapping = compile_mapping({"f": PLACE}, {"f": path(".text", shout)}, registry)
    assert mapping.evaluate(FRAME) == {"f": "TEA!"}


@pytest.mark.parametrize(
    "text,parts",
    [
        ("$.id.port", ("id", "port", "")),
        ("$.id.port.a.b", ("id", "port", "a.b")),
        ("$.id.port.[a.b]", ("id", "port", "[a.b]")),
        ("$.id.port[0]", ("id", "port", "[0]")),
        ("{{{$.id.port.a}}}", ("id", "port", "a")),
        ("$.id", None),
        ("id.port", None),
        ("", None),
    ],
)
def test_parse_variable(text: str, parts: Any) -> None:
    assert parse_variable(text) == parts


def test_nesting_without_end_is_refused() -> None:
    deep: Any = "x"
    for _ in range(100):
        deep = [deep]
    with pytest.raises(BadRequest, match='"f" is nested deeper'):
        compiled({"f": deep})
    chain: Any = {"value": "x"}
    for _ in range(100):
        entry = {"functions": [{"name": "g_default", "params": [chain]}]}
        chain = {"value": PLACE, "modifiers": {V: entry}}
    with pytest.raises(BadRequest, match='"f"'):
        compiled({"f": PLACE}, {"f": {V: {"functions": [{"name": "g_default", "params": [chain]}]}}})


def test_a_text_with_variables_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts as long as outputs may be, a hundred times over, would take all memory there is."""
    monkeypatch.setattr("engine.values.nodes.LONGEST_TEXT", 12)
    assert value(f"{PLACE} {PLACE} {PLACE}", path(".text")) == "tea tea tea"
    with pytest.raises(StepError, match="15 characters long; 12 are the most"):
        value(f"{PLACE} {PLACE} {PLACE} {PLACE}", path(".text"))


NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)


def test_every_mapping_of_the_real_flows_compiles_and_knows_its_modifiers() -> None:
    compiled_ones = placeholders = 0
    flows = [row["json"]["flow"] for row in corpus("flows")]
    for step in (step for flow in flows for step in flow.values()):
        for senders in step.get("config", {}).get("transform", {}).values():
            for mapping in (one for ports in senders.values() for one in ports.values()):
                if "lambda" not in mapping:
                    continue
                one = compile_mapping(mapping["lambda"], mapping["modifiers"], REGISTRY)
                compiled_ones += 1
                placeholders += len(one.reads)
                assert "{{{" not in json.dumps(_evaluate_with_nothing(one))
    assert compiled_ones > 400
    assert placeholders > 300


def _evaluate_with_nothing(mapping: Compiled) -> Any:
    """With no step having run, only modifiers that need a value may fail."""
    try:
        return mapping.evaluate(Frame({}, FRAME.flow, "m1", 0))
    except StepError as error:
        assert error.code == "BAD_MODIFIER_INPUT"  # noqa: PT017 (why it failed is the point)
        return None


JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
PIECES = st.sampled_from(
    [PLACE, OTHER, "{{{", "}}}", "{", "$.", f"{{{{{{$.{A}.out.x}}}}}}", "{{{g_pi}}}", "{{{a}}}", "x", " "]
)
TEMPLATES = st.lists(PIECES | st.text(max_size=3), max_size=6).map("".join)
SHAPES = st.recursive(
    TEMPLATES | st.none() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
FUNCTIONS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["g_first", "g_add", "g_join", "g_now", "g_length", "g_nope"])},
        optional={
            "params": st.lists(st.fixed_dictionaries({"value": SHAPES}) | JSON, max_size=2) | JSON,
            "hashParams": st.dictionaries(st.text(max_size=3), st.fixed_dictionaries({"value": SHAPES})) | JSON,
        },
    )
    | JSON,
    max_size=3,
)
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "variable": st.sampled_from([f"$.{A}.out", f"$.{A}.out.x.y", "$.", "?"]) | JSON,
        "functions": FUNCTIONS | JSON,
    },
)
ENTRIES = st.dictionaries(st.sampled_from([V, W, f"$.{A}.out.x"]), ENTRY | JSON, max_size=3)


@settings(max_examples=500)
@given(st.dictionaries(st.text(max_size=3), SHAPES, max_size=3), ENTRIES | JSON, JSON, st.booleans())
def test_any_mapping_gives_its_fields_or_a_step_error(
    lambda_: dict[str, Any], entries: Any, out: Any, text: bool
) -> None:
    fields = frozenset(lambda_) if text else frozenset()
    mapping = compile_mapping(lambda_, dict.fromkeys(lambda_, entries), REGISTRY, text_fields=fields)
    assert mapping.reads <= {(A, "out")}
    try:
        result = mapping.evaluate(Frame({A: {"out": out}}, FlowVariables(), "m", 0))
    except StepError:
        return
    assert list(result) == list(lambda_)
    for name, raw in lambda_.items():
        if isinstance(raw, str) and "{{{" not in raw:
            assert result[name] == raw


@given(JSON)
def test_a_single_placeholder_hands_over_the_value_itself(out: Any) -> None:
    mapping = compiled({"f": PLACE}, {"f": {V: {"variable": f"$.{A}.out", "functions": []}}})
    assert mapping.evaluate(Frame({A: {"out": out}}, FlowVariables(), "m", 0))["f"] is out


@given(st.text(), st.text(), st.text())
def test_text_around_and_inside_a_placeholder_comes_through_unchanged(before: str, inside: str, after: str) -> None:
    before, after = before.replace("{", ""), after.replace("}", "").replace("{", "")
    mapping = compiled({"f": f"{before}{PLACE}{after}"}, {"f": {V: {"variable": f"$.{A}.out"}}})
    assert mapping.evaluate(Frame({A: {"out": inside}}, FlowVariables(), "m", 0))["f"] == before + inside + after


@given(st.text())
def test_text_without_placeholders_is_a_literal(text: str) -> None:
    plain = re.sub(r"\{+", "{", text)
    mapping = compiled({"f": plain})
    assert mapping.constant
    assert mapping.evaluate(FRAME) == {"f": plain}
