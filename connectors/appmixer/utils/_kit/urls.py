"""Web addresses, and values put into them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote_plus, urlsplit, urlunsplit

from connectors.appmixer.utils._kit.convert import script_text


def is_web_address(text: Any) -> bool:
    """An http or https address with a host."""
    try:
        parts = urlsplit(text) if isinstance(text, str) else None
        return parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def with_query(url: str, values: Mapping[str, Any]) -> str:
    """The address with `values` added to its query."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query="&".join(filter(None, (parts.query, form_encoded(values))))))


def form_encoded(values: Mapping[str, Any]) -> str:
    """`a=1&b[c]=2&d[0]=3`, brackets encoded: nested values as the original platform writes them, null as nothing."""
    pairs = (pair for name, value in values.items() for pair in _flat(name, value))
    return "&".join(f"{quote_plus(name)}={quote_plus(text)}" for name, text in pairs)


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{name}[{key}]", inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _flat(f"{name}[{index}]", inner)
    else:
        yield name, "" if value is None else script_text(value)
