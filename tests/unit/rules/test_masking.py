from __future__ import annotations

from typing import Any

import orjson
import pytest

from engine.model.manifest import password_fields
from engine.rules.masking import DEFAULT_FIELDS, MASK, logging_of, masker_of

HEADERS = masker_of(frozenset(DEFAULT_FIELDS))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"headers": {"authorization": "B a", "accept": "*"}}, {"headers": {"authorization": MASK, "accept": "*"}}),
        ({"Authorization": "x"}, {"Authorization": MASK}),
        ({"set-cookie": ["a=1", "b=2"], "X-API-Key": 7}, {"set-cookie": MASK, "X-API-Key": MASK}),
        ({"authorization": None, "cookie": ""}, {"authorization": None, "cookie": ""}),
        ([{"key": "Cookie", "value": "s=1"}], [{"key": "Cookie", "value": MASK}]),
        ([{"name": "cookie", "text": "s=1", "type": "text"}], [{"name": "cookie", "text": MASK, "type": "text"}]),
        ({"curl": "curl -H 'Authorization: Bearer a b' http://x"}, {"curl": f"curl -H 'Authorization: {MASK}' http://x"}),
        ({"url": "http://x/?api-key=abc&n=1"}, {"url": f"http://x/?api-key={MASK}&n=1"}),
        ({"headers": '{"Authorization": "\\"q\\" z", "a": 1}'}, {"headers": f'{{"Authorization": "{MASK}", "a": 1}}'}),
        ({"text": "a cookie recipe"}, {"text": "a cookie recipe"}),
        ({"text": "deauthorization: no"}, {"text": "deauthorization: no"}),
    ],
)  # fmt: skip
def test_known_names_are_masked(content: Any, expected: Any) -> None:
    text = orjson.dumps(content).decode()
    assert orjson.loads(HEADERS.text(text)) == expected
    assert HEADERS.value(content) == expected


def test_text_without_a_secret_is_the_same_object() -> None:
    for text in ('{"a":1}', '{"text":"a cookie recipe"}', "plain"):
        assert HEADERS.text(text) is text


def test_plain_text_is_masked_too() -> None:
    assert HEADERS.text("sent Authorization: Bearer abc\nnext line") == f"sent Authorization: {MASK}\nnext line"


def test_a_very_deep_content_is_masked_as_text() -> None:
    deep = '{"a":' * 900 + '{"cookie":"s=1"}' + "}" * 900
    masked = HEADERS.text(deep)
    assert "s=1" not in masked
    assert MASK in masked


def test_passwords_of_properties_are_masked_by_value() -> None:
    logging = logging_of(frozenset(["pin"]), "always", frozenset(["hunter22"]))
    assert logging.text('the service refused "hunter22"') == f'the service refused "{MASK}"'
    assert logging.text('{"pin":"0"}') == f'{{"pin":"{MASK}"}}'


def test_password_fields_of_a_manifest() -> None:
    manifest = {
        "properties": {
            "schema": {"properties": {"secret": {"type": "string", "format": "password"}, "url": {"type": "string"}}},
            "inspector": {"inputs": {"token": {"type": "password"}, "name": {"type": "text"}}},
        },
        "inPorts": [{"name": "in", "inspector": {"inputs": {"rows": {"fields": {"pin": {"type": "password"}}}}}}],
        "outPorts": [{"name": "out", "options": [{"value": "user.code", "schema": {"format": "password"}}]}],
    }
    assert password_fields(manifest) == {"secret", "token", "pin", "code"}


@pytest.mark.parametrize("name", DEFAULT_FIELDS)
def test_every_name_of_the_setting_is_found(name: str) -> None:
    text = orjson.dumps({name.title(): "secret-value"}).decode()
    assert orjson.loads(HEADERS.text(text)) == {name.title(): MASK}
