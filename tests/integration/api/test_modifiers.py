"""The set of modifiers over REST (rest-api.md §8)."""

from __future__ import annotations

from typing import Any

import pytest

from engine import wiring
from tests.integration.api.conftest import User

OWN = {
    "categories": {"mine": {"label": "Mine", "index": 0}},
    "modifiers": {
        "g_shout": {
            "label": "Shout", "category": ["mine"], "description": "Louder.", "arguments": [],
            "returns": {"type": "string"}, "helperFn": "function(value) { return value.toUpperCase() + '!'; }",
        },
        "g_trim": {"label": "Trim"},
    },
}  # fmt: skip


def test_everybody_signed_in_reads_the_set(ann: User, nobody: User) -> None:
    given = ann.get("/modifiers").json
    assert set(given) == {"categories", "modifiers"}
    assert {"g_jsonPath", "g_uuid4", "g_first", "g_length"} <= set(given["modifiers"])
    assert nobody.get("/modifiers").status_code == 401


def test_an_administrator_replaces_and_resets_it(ann: User, admin: User, platform: wiring.Platform) -> None:
    before = ann.get("/modifiers").json
    assert admin.put("/modifiers", OWN).json == OWN
    assert ann.get("/modifiers").json == OWN
    assert platform.modifiers.registry().get("g_first") is None
    assert platform.modifiers.registry().get("g_shout") is not None
    assert admin.delete("/modifiers").json == {}
    assert ann.get("/modifiers").json == before


def test_nobody_else_does(ann: User, nobody: User) -> None:
    for user, status in ((ann, 403), (nobody, 401)):
        assert user.put("/modifiers", OWN).status_code == status
        assert user.delete("/modifiers").status_code == status
    assert "g_first" in ann.get("/modifiers").json["modifiers"]


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"modifiers": []},
        {"modifiers": {"g_x": {}}},
        {"modifiers": {"g_x": 5}},
        {"modifiers": {"g_x": {"helperFn": 5}}},
    ],
)
def test_a_bad_set_changes_nothing(ann: User, admin: User, body: Any) -> None:
    answer = admin.put("/modifiers", body)
    assert answer.status_code == 400
    assert "modifiers" in answer.json["message"] or "object" in answer.json["message"]
    assert "g_first" in ann.get("/modifiers").json["modifiers"]


@pytest.mark.parametrize(
    ("source", "arguments", "value"),
    [
        ("function(a, b) { return a + b; }", [1, 2], 3),
        ("(a) => ({ twice: a * 2 })", [4], {"twice": 8}),
        ("function(list) { return list.length ? null : 1; }", [[1]], None),
        ("function() { return 'x'; }", [], "x"),
    ],
)
def test_a_function_is_tried(ann: User, source: str, arguments: list[Any], value: Any) -> None:
    answer = ann.post("/modifiers/test", {"helperFn": source, "arguments": arguments})
    assert answer.status_code == 200, answer.json
    assert answer.json == value


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"helperFn": "function() {}", "arguments": []}, 'The function returned "undefined"'),
        ({"helperFn": "function() { throw new Error('oh no'); }"}, "oh no"),
        ({"helperFn": "function( {"}, ""),
        ({"helperFn": "   "}, "helperFn"),
        ({"helperFn": 5}, "helperFn"),
        ({"arguments": []}, "helperFn"),
        ({"helperFn": "x => x", "arguments": 5}, "arguments"),
        ({"helperFn": "function() { while (true) {} }"}, ""),
    ],
)
def test_what_a_function_does_wrong_is_told(ann: User, body: dict[str, Any], says: str) -> None:
    answer = ann.post("/modifiers/test", body)
    assert answer.status_code == 400
    assert says in answer.json["message"]
