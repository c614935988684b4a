"""JSON documents as MongoDB stores them, and its driver's errors as ours; without a server."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo import errors

from deploy.local import mongo as local
from engine.adapters.mongo import encoding
from engine.adapters.mongo.connection import _CODEC, connect, translate
from engine.errors import BadRequest, Conflict, HeadraceError, TooLarge, Unavailable

KEYS = st.text(alphabet="$.\0\ue0000a_", max_size=4)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(alphabet='$\\"\0\ue000a[]{}', max_size=6),
)
TREES = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3))
)


def stored_and_read(doc: dict[str, Any]) -> dict[str, Any]:
    return encoding.decode(bson.decode(bson.encode(encoding.encode(doc, "it")), _CODEC))


@given(st.dictionaries(KEYS, TREES, max_size=4))
def test_any_document_comes_back(doc: dict[str, Any]) -> None:
    found = stored_and_read(doc)
    assert found == doc
    assert repr(sorted(found.items())) == repr(sorted(doc.items())), "types and the order of keys as well"


@given(KEYS, KEYS)
def test_names_stay_apart(one: str, other: str) -> None:
    assert encoding.original(encoding.name(one)) == one
    assert not encoding.name(one).startswith("$")
    assert "\0" not in encoding.name(one)
    assert (encoding.name(one) == encoding.name(other)) is (one == other)


@pytest.mark.parametrize("depth", [1, 89, 90, 91, 92, 200, 250])
@pytest.mark.parametrize("filling", [0, 200])
def test_any_depth_comes_back_and_is_stored_flat_enough(depth: int, filling: int) -> None:
    deep: Any = ["end"]
    for level in range(depth):
        deep = {"a": deep, "b": '}"]'} if level % 3 else [deep, []]
    doc = {"deep": deep, "wide": [{} for _ in range(filling)]}
    assert stored_and_read(doc) == doc

    def height(value: Any) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return 1 + max(map(height, inner), default=0)

    assert height(encoding.encode(doc, "it")) <= encoding.DEEPEST + 3


def test_plain_documents_are_not_marked() -> None:
    assert encoding.encode({"price": "$5", "text": "\0 \ue000"}, "it") == {"price": "$5", "text": "\0 \ue000"}


def test_too_large_documents_are_refused_before_they_are_sent() -> None:
    with pytest.raises(TooLarge, match="payloads x"):
        encoding.encode({"value": "x" * 17_000_000}, "payloads x")


def failure(code: int) -> errors.OperationFailure:
    return errors.OperationFailure("it says so", code, {"keyPattern": {"username": 1}})


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (errors.AutoReconnect("connection closed"), Unavailable),
        (errors.NetworkTimeout("timed out"), Unavailable),
        (errors.NotPrimaryError("not primary"), Unavailable),
        (errors.ServerSelectionTimeoutError("nobody there, Timeout: 5s, Topology: long"), Unavailable),
        (errors.WaitQueueTimeoutError("no connection free"), Unavailable),
        (errors.WTimeoutError("no majority", 64, {}), Unavailable),
        (errors.ExecutionTimeout("too slow", 50), Unavailable),
        (errors.CursorNotFound("gone", 43), Unavailable),
        (errors.InvalidOperation("closed"), Unavailable),
        (errors.DuplicateKeyError("same", 11000, {"keyPattern": {"username": 1}}), Conflict),
        (errors.BulkWriteError({"writeErrors": [{"code": 11000, "errmsg": "same"}]}), Conflict),
        (errors.BulkWriteError({"writeErrors": [{"code": 10334, "errmsg": "large"}]}), TooLarge),
        (errors.BulkWriteError({"writeErrors": [], "writeConcernErrors": [{"code": 64}]}), Unavailable),
        (failure(112), Unavailable),
        (failure(10107), Unavailable),
        (failure(14031), Unavailable),
        (failure(11000), Conflict),
        (failure(17419), TooLarge),
        (failure(388), TooLarge),
        (failure(2), BadRequest),
        (errors.DocumentTooLarge("large"), TooLarge),
        (bson.errors.InvalidDocument("odd"), BadRequest),
        (failure(20), HeadraceError),
        (errors.ConfigurationError("odd"), HeadraceError),
    ],
)
def test_errors_of_the_driver_become_ours(error: Exception, ours: type[HeadraceError]) -> None:
    found = translate(error, "users")
    assert type(found) is ours
    assert found.message.startswith("users")
    assert "Topology" not in found.message
    if ours is Conflict and not isinstance(error, errors.BulkWriteError):
        assert "username" in found.message


def test_connecting_needs_no_server() -> None:
    connect("mongodb://nowhere.invalid:1").close()
    with pytest.raises(HeadraceError, match="URL of MongoDB"):
        connect("http://x")


def test_the_server_that_is_installed_by_hand_is_that_of_the_extra() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert local.WHEEL in project["optional-dependencies"]["services"]
