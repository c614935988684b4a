"""Parameters of GET /logs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.errors import BadRequest
from engine.services.logs import LogRequest, read_request


def test_nothing_given() -> None:
    query = read_request(LogRequest())
    assert (query.sort, query.size, query.offset) == ((("gridTimestamp", -1),), 50, 0)


def test_everything_given() -> None:
    request = LogRequest(
        port_types=["out"], query="severity:error", sort=["@timestamp:desc", "port"], size="7", offset="3",
        includes=["msg,err", "port"], excludes=["msg"], search_after=["1", "out", "id-9"],
    )  # fmt: skip
    query = read_request(request)
    assert query.port_types == ("out",)
    assert query.query == "severity:error"
    assert query.sort == (("gridTimestamp", -1), ("port", 1))
    assert (query.size, query.offset) == (7, 3)
    assert query.includes == ("msg", "err", "port")
    assert query.excludes == ("msg",)
    assert query.search_after == ("1", "out", "id-9")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"size": "x"}, "size"),
        ({"size": "-1"}, "size"),
        ({"size": "10001"}, "size"),
        ({"size": "٣"}, "size"),
        ({"offset": "1.5"}, "from"),
        ({"sort": ["port:up"]}, "sort"),
        ({"sort": [":desc"]}, "sort"),
        ({"search_after": ["1", "2", "3"]}, "searchAfter"),
    ],
)
def test_nonsense_is_named(change: dict[str, object], name: str) -> None:
    with pytest.raises(BadRequest, match=f"^{name}"):
        read_request(replace(LogRequest(), **change))  # type: ignore[arg-type]
