"""Data stores over REST (rest-api.md §6)."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import wiring
from engine.services import stores as service
from tests.integration.api.conftest import User


def make(user: User, name: str = "Orders") -> str:
    return str(user.post("/stores", {"name": name}).json["storeId"])


def put(user: User, store_id: str, key: str, value: Any) -> Any:
    answer = user.post(f"/store/{store_id}/{quote(key, safe='')}", value)
    assert answer.status_code == 200, answer.json
    return answer.json


def keys(user: User, store_id: str, query: str = "") -> list[str]:
    return [entry["key"] for entry in user.get(f"/store?storeId={store_id}{query}").json]


def test_a_store_from_beginning_to_end(ann: User) -> None:
    store_id = make(ann)
    assert len(store_id) == 24
    assert ann.get("/stores").json == [{"name": "Orders", "storeId": store_id}]
    assert ann.get(f"/stores/{store_id}").json == {"name": "Orders", "storeId": store_id}
    assert ann.put(f"/stores/{store_id}", {"name": "Sales"}).json == {"oldName": "Orders", "storeId": store_id}
    assert ann.get(f"/api/stores/{store_id}").json["name"] == "Sales"
    put(ann, store_id, "a", 1)
    assert ann.delete(f"/stores/{store_id}").json == {}
    assert ann.get("/stores").json == []
    assert ann.get(f"/store?storeId={store_id}").status_code == 404


def test_stores_are_listed_by_name_and_found_by_pattern(ann: User) -> None:
    for name in ("beta", "alpha", "Gamma"):
        make(ann, name)
    assert [store["name"] for store in ann.get("/stores?pattern=A$&sort=name:-1").json] == ["beta", "alpha", "Gamma"]
    assert [store["name"] for store in ann.get("/stores?pattern=^g").json] == ["Gamma"]
    assert ann.get("/stores?projection=name&limit=1&sort=name:1").json == [{"name": "Gamma"}]
    assert set(ann.get("/stores?projection=storeId&limit=1").json[0]) == {"storeId"}
    assert set(ann.get("/stores?projection=-name&limit=1").json[0]) == {"storeId"}


def test_an_entry_is_set_changed_renamed_and_deleted(ann: User) -> None:
    store_id = make(ann)
    first = put(ann, store_id, "k", {"n": 1})
    assert set(first) == {"key", "value", "createdAt", "updatedAt"}
    assert (first["key"], first["value"]) == ("k", {"n": 1})
    second = put(ann, store_id, "k", [1, None])
    assert (second["value"], second["createdAt"]) == ([1, None], first["createdAt"])
    (entry,) = ann.get(f"/store?storeId={store_id}").json
    assert entry == {**second, "storeId": store_id, "userId": ann.id}
    renamed = ann.patch(f"/store/{store_id}/k", {"key": "new", "value": None}).json
    assert (renamed["key"], renamed["value"], renamed["createdAt"]) == ("new", None, first["createdAt"])
    assert keys(ann, store_id) == ["new"]
    assert ann.patch(f"/store/{store_id}/new", {"value": 5}).json["value"] == 5
    assert ann.delete(f"/store/{store_id}/new").json == {"key": "new", "oldValue": 5}
    assert ann.delete(f"/store/{store_id}/new").json == {"key": "new", "oldValue": None}
    assert ann.get(f"/store/count?storeId={store_id}").json == {"count": 0}


def test_renaming_never_overwrites(ann: User) -> None:
    store_id = make(ann)
    put(ann, store_id, "a", 1)
    put(ann, store_id, "b", 2)
    answer = ann.patch(f"/store/{store_id}/a", {"key": "b"})
    assert answer.status_code == 409
    assert "'b'" in answer.json["message"]
    assert keys(ann, store_id) == ["a", "b"]
    assert ann.patch(f"/store/{store_id}/a", {"key": "a"}).json["value"] == 1
    assert ann.patch(f"/store/{store_id}/gone", {"value": 1}).status_code == 404


@pytest.mark.parametrize(
    ("content_type", "data", "value"),
    [
        ("application/json", b'{"a":1}', {"a": 1}),
        ("application/json; charset=utf-8", b"5", 5),
        ("application/json", b"", None),
        ("text/plain", b'{"a":1}', '{"a":1}'),
        ("text/plain; charset=utf-8", "žluť".encode(), "žluť"),
        ("application/x-www-form-urlencoded", b'{"a":1}', {"a": 1}),
        ("application/x-www-form-urlencoded", b"a=1", "a=1"),
        ("", b"true", True),
        ("", b"", ""),
    ],
)
def test_the_whole_body_is_the_value(ann: User, content_type: str, data: bytes, value: Any) -> None:
    store_id = make(ann)
    answer = ann.post(f"/store/{store_id}/k", data=data, content_type=content_type)
    assert answer.json["value"] == value
    assert ann.get(f"/store?storeId={store_id}").json[0]["value"] == value


@pytest.mark.parametrize(
    "key",
    ["a/b", "/lead", "trail/", "a//b", "žluť", "a b", "100%", "?x=1&y", "#", ".", "..", '"', "'", "\\", "a:b", "%2F"],
)
def test_any_text_is_a_key(ann: User, key: str) -> None:
    store_id = make(ann)
    assert put(ann, store_id, key, "v")["key"] == key
    assert keys(ann, store_id) == [key]
    assert ann.patch(f"/store/{store_id}/{quote(key, safe='')}", {"value": "w"}).json["value"] == "w"
    assert ann.delete(f"/store/{store_id}/{quote(key, safe='')}").json == {"key": key, "oldValue": "w"}


def test_keys_have_a_length(ann: User) -> None:
    store_id = make(ann)
    put(ann, store_id, "k" * 1024, 1)
    answer = ann.post(f"/store/{store_id}/{'k' * 1025}", 1)
    assert answer.status_code == 400
    assert "1024" in answer.json["message"]


def test_lists_of_entries_take_the_list_parameters(ann: User) -> None:
    store_id = make(ann)
    for n in range(5):
        put(ann, store_id, f"k{n}", {"n": n})
    assert keys(ann, store_id, "&limit=2&offset=1") == ["k1", "k2"]
    assert keys(ann, store_id, "&sort=key:-1&limit=1") == ["k4"]
    assert keys(ann, store_id, "&pattern=K[34]") == ["k3", "k4"]
    assert keys(ann, store_id, "&filter=value.n:2") == ["k2"]
    assert len(keys(ann, store_id, "&filter=createdAt:>2020-01-01T00:00:00Z")) == 5
    assert keys(ann, store_id, "&filter=updatedAt:<2020-01-01T00:00:00Z") == []
    assert ann.get(f"/store/count?storeId={store_id}&pattern=k[34]").json == {"count": 2}
    assert ann.get(f"/store?storeId={store_id}&projection=key&limit=1").json == [{"key": "k0"}]
    assert "userId" not in ann.get(f"/store?storeId={store_id}&projection=-userId").json[0]


def test_many_entries_are_deleted_at_once(ann: User) -> None:
    one, two = make(ann), make(ann)
    for store_id in (one, two):
        put(ann, store_id, "a", 1)
        put(ann, store_id, "b", 1)
    gone = [{"key": "a", "storeId": one}, {"key": "b", "storeId": two}, {"key": "none", "storeId": two}]
    assert ann.delete("/store", gone).json == {"deletedCount": 2}
    assert (keys(ann, one), keys(ann, two)) == (["b"], ["a"])


def test_a_store_is_downloaded(ann: User) -> None:
    store_id = make(ann, 'Ord"ers žl')
    for n in range(250):
        put(ann, store_id, f"{n:03}", {"n": n} if n else 'text, with "quotes"\nand lines')
    answer = ann.get(f"/store/download/{store_id}")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment; filename=")
    assert quote('Ord"ers žl.json') in answer.headers["Content-Disposition"]
    rows = orjson.loads(answer.data)
    assert [row["key"] for row in rows] == [f"{n:03}" for n in range(250)]
    assert rows[7]["value"] == {"n": 7}
    text = ann.get(f"/store/download/{store_id}?format=csv").text
    table = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(table) == 250
    assert table[0]["value"] == 'text, with "quotes"\nand lines'
    assert table[7]["value"] == '{"n":7}'
    assert ann.get(f"/store/download/{store_id}?format=xml").status_code == 400


def test_an_empty_store_downloads_as_an_empty_list(ann: User) -> None:
    assert orjson.loads(ann.get(f"/store/download/{make(ann)}").data) == []


OTHERS: list[tuple[str, str, Any]] = [
    ("GET", "/stores/{id}", None),
    ("PUT", "/stores/{id}", {"name": "x"}),
    ("DELETE", "/stores/{id}", None),
    ("GET", "/store?storeId={id}", None),
    ("GET", "/store/count?storeId={id}", None),
    ("POST", "/store/{id}/k", 1),
    ("PATCH", "/store/{id}/k", {"value": 1}),
    ("DELETE", "/store/{id}/k", None),
    ("DELETE", "/store", [{"storeId": "{id}", "key": "k"}]),
    ("GET", "/store/download/{id}", None),
]


@pytest.mark.parametrize(("method", "path", "body"), OTHERS)
def test_what_is_not_yours_does_not_exist(
    ann: User, stranger: User, admin: User, nobody: User, method: str, path: str, body: Any
) -> None:
    store_id = make(ann)
    put(ann, store_id, "k", "secret")
    path = path.replace("{id}", store_id)
    body = orjson.loads(orjson.dumps(body).replace(b"{id}", store_id.encode()))
    for user in (stranger, admin):
        answer = user.call(method, path, body)
        assert answer.status_code == 404
        assert "secret" not in answer.text
    assert nobody.call(method, path, body).status_code == 401
    assert stranger.get("/stores").json == []
    assert ann.get(f"/store?storeId={store_id}").json[0]["value"] == "secret"


BAD: list[tuple[str, str, Any, str]] = [
    ("POST", "/stores", {}, "name"),
    ("POST", "/stores", {"name": 5}, "name"),
    ("POST", "/stores", {"name": " "}, "name"),
    ("POST", "/stores", {"name": "x" * 256}, "name"),
    ("GET", "/store", None, "storeId"),
    ("GET", "/store/count", None, "storeId"),
    ("DELETE", "/store", {}, "array"),
    ("DELETE", "/store", [{"key": "k"}], "storeId"),
    ("PATCH", "/store/{id}/k", {"key": ""}, "key"),
    ("PATCH", "/store/{id}/k", {"key": "x" * 1025}, "1024"),
    ("GET", "/store?storeId={id}&limit=x", None, "limit"),
    ("GET", "/store?storeId={id}&pattern=(", None, "pattern"),
    ("GET", "/store?storeId={id}&filter=createdAt", None, "filter"),
]


@pytest.mark.parametrize(("method", "path", "body", "names"), BAD)
def test_bad_input_is_named(ann: User, method: str, path: str, body: Any, names: str) -> None:
    answer = ann.call(method, path.replace("{id}", make(ann)), body)
    assert answer.status_code == 400
    assert names in answer.json["message"]


def test_bad_bodies(ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    store_id = make(ann)
    assert ann.post(f"/store/{store_id}/k", data=b"{", content_type="application/json").status_code == 400
    assert ann.post(f"/store/{store_id}/k", data=b"\xff\xfe", content_type="text/plain").status_code == 400
    monkeypatch.setattr(service, "MAX_VALUE", 10)
    assert ann.post(f"/store/{store_id}/k", "x" * 11).status_code == 413


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.text(min_size=1, max_size=40), value=JSON)
def test_every_value_comes_back(platform: wiring.Platform, key: str, value: Any) -> None:
    (store,) = platform.stores.find_stores("u") or [{"storeId": platform.stores.create("u", "s")}]
    platform.stores.set("u", store["storeId"], key, value)
    entry = platform.stores.get("u", store["storeId"], key)
    assert entry is not None
    assert entry["value"] == value


@pytest.fixture
def watched(platform: wiring.Platform, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Register a component with a store and collect what it is told."""
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(platform.stores._watchers, "_notify", told.extend)

    def watch(user: User, store_id: str, *events: str) -> list[dict[str, Any]]:
        view = platform.stores.view(user.id, "flow", "component")
        view.register_webhook(store_id, *([events] if events else []))
        return told

    return watch


def test_components_are_told_of_changes(ann: User, watched: Callable[..., list[dict[str, Any]]]) -> None:
    store_id = make(ann)
    told = watched(ann, store_id)
    put(ann, store_id, "a", 1)
    put(ann, store_id, "a", 2)
    ann.patch(f"/store/{store_id}/a", {"key": "b"})
    ann.delete(f"/store/{store_id}/b")
    assert all((notice["flowId"], notice["componentId"]) == ("flow", "component") for notice in told)
    seen = [
        (n["content"]["type"], n["content"]["currentValue"]["key"], n["content"]["currentValue"]["value"]) for n in told
    ]
    assert seen == [("insert", "a", 1), ("update", "a", 2), ("delete", "a", 2), ("insert", "b", 2), ("delete", "b", 2)]
    assert told[1]["content"]["oldValue"] == 1
    assert set(told[0]["content"]["currentValue"]) == {"key", "value", "storeId", "createdAt", "updatedAt"}
    assert len({notice["eventId"] for notice in told}) == 5


def test_components_are_told_of_the_events_they_asked_for_only(
    ann: User, platform: wiring.Platform, watched: Callable[..., list[dict[str, Any]]]
) -> None:
    store_id = make(ann)
    told = watched(ann, store_id, "delete")
    for n in range(250):
        platform.stores.set(ann.id, store_id, str(n), n)
    assert told == []
    assert platform.stores.view(ann.id, "f", "c").clear(store_id) == 250
    assert len(told) == 250
    platform.stores.view(ann.id, "flow", "component").unregister_webhook(store_id)
    put(ann, store_id, "a", 1)
    ann.delete(f"/store/{store_id}/a")
    assert len(told) == 250
