from __future__ import annotations

from typing import Any

import pytest

from connectors.appmixer.utils._kit.csv_line import cell_text, line_of
from connectors.appmixer.utils._kit.inputs import base64_bytes, entries, flag
from connectors.appmixer.utils._kit.urls import form_encoded, is_web_address, with_query


@pytest.mark.parametrize(
    "value, on",
    [
        (True, True),
        (False, False),
        ("true", True),
        (" TRUE ", True),
        ("false", False),
        ("x", False),
        (1, True),
        (0, False),
    ],
)
def test_flag(value: Any, on: bool) -> None:
    assert flag(value, default=not on) is on


@pytest.mark.parametrize("value", [None, ""])
@pytest.mark.parametrize("default", [True, False])
def test_flag_that_was_never_saved(value: Any, default: bool) -> None:
    assert flag(value, default=default) is default


@pytest.mark.parametrize("expression", [None, "text", [], {}, {"OR": [{"a": 1}]}, {"AND": None}, {"AND": "x"}])
def test_no_entries(expression: Any) -> None:
    assert entries(expression, "AND") == []


def test_entries_that_are_filled() -> None:
    assert entries({"AND": [{"a": 1}, {}, None, "x", {"b": 2}]}, "AND") == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize(
    "text, data", [("", b""), ("QQ==", b"A"), ("Q Q\n", b"A"), ("-_8=", b"\xfb\xff"), ("+/8", b"\xfb\xff")]
)
def test_base64(text: str, data: bytes) -> None:
    assert base64_bytes(text) == data


@pytest.mark.parametrize("text", ["#", "AAAAA", "QQ=Q"])
def test_no_base64(text: str) -> None:
    with pytest.raises(ValueError):
        base64_bytes(text)


@pytest.mark.parametrize(
    "value, text",
    [(None, ""), (0, "0"), (False, "false"), (1.0, "1"), (1.5, "1.5"), ([1], "[1]"), ({"a": None}, '{"a":null}')],
)
def test_cells(value: Any, text: str) -> None:
    assert cell_text(value) == text


@pytest.mark.parametrize(
    "row, line",
    [
        (["a", "b"], "a;b"),
        (["a;b", "c"], '"a;b";c'),
        (['"'], '""""'),
        (["a\nb", "c\r"], '"a\nb";"c\r"'),
        ([""], '""'),
        (["", ""], ";"),
    ],
)
def test_lines(row: list[str], line: str) -> None:
    assert line_of(row, ";") == line


@pytest.mark.parametrize("text", ["http://x", "https://x.test:8080/a?b#c", "https://[::1]/"])
def test_web_addresses(text: str) -> None:
    assert is_web_address(text)


@pytest.mark.parametrize("text", [None, 5, "", "x", "//x", "http:", "http://", "http://[", "ftp://x", "javascript:1"])
def test_no_web_addresses(text: Any) -> None:
    assert not is_web_address(text)


def test_queries() -> None:
    assert with_query("https://x/a?b=1#f", {"c": "d e&", "n": None}) == "https://x/a?b=1&c=d+e%26&n=#f"
    assert with_query("https://x/a", {}) == "https://x/a"
    assert (
        form_encoded({"a": {"b": [True, {"c": "ř"}]}, "k=": 1})
        == "a%5Bb%5D%5B0%5D=true&a%5Bb%5D%5B1%5D%5Bc%5D=%C5%99&k%3D=1"
    )
