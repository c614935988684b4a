"""OpenAPI runtime expressions, `{$response.body#/json/pointer}` and `{$response.header.name}`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from connectors.appmixer.utils._kit.convert import as_text, json_text

Reply = Mapping[str, Any]
"""{body: JSON or text, headers: {lower-case name: text}}"""

_EXPRESSION = re.compile(r"\{\$response\.(?:body(?:#(?P<pointer>[^{}]*))?|header\.(?P<header>[^{}]+))\}")


def fill_text(text: str, reply: Reply) -> str:
    """A text with its expressions replaced; what the reply lacks becomes empty."""

    def value(match: re.Match[str]) -> str:
        found = _value(match, reply)
        return "" if found is None else as_text(found)

    return _EXPRESSION.sub(value, text)


def fill_json(text: str, reply: Reply) -> Any:
    """JSON text with expressions, inside its strings or in place of a value. Raises ValueError when it is no JSON."""
    try:
        return _fill(orjson.loads(text), reply)
    except orjson.JSONDecodeError:
        return orjson.loads(_EXPRESSION.sub(lambda match: json_text(_value(match, reply)), text))


def _fill(value: Any, reply: Reply) -> Any:
    """A string that is one expression takes the value's own type."""
    if isinstance(value, str):
        whole = _EXPRESSION.fullmatch(value)
        return _value(whole, reply) if whole else fill_text(value, reply)
    if isinstance(value, list):
        return [_fill(item, reply) for item in value]
    if isinstance(value, dict):
        return {key: _fill(item, reply) for key, item in value.items()}
    return value


def _value(match: re.Match[str], reply: Reply) -> Any:
    if match["header"] is not None:
        return reply["headers"].get(match["header"].lower())
    return _at(reply["body"], match["pointer"] or "")


def _at(value: Any, pointer: str) -> Any:
    """RFC 6901; None when there is nothing."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value
