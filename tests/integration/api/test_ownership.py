"""Who may do what with somebody's flow, as one table (issue "Bad input": never data for strangers)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.api.conftest import User

SECRET = "the-owners-secret"
BEGIN = {"b": {"type": "acme.shop.core.Begin", "label": SECRET}}
START, STOP = {"command": "start"}, {"command": "stop"}

CALLS: list[tuple[str, str, Any, str]] = [
    ("GET", "", None, "read"),
    ("GET", "/validate", None, "read"),
    ("GET", "/coordinator/status", None, "read"),
    ("POST", "/clone", {}, "read"),
    ("PUT", "", {"name": "taken"}, "write"),
    ("PUT", "?forceUpdate=true", {"flow": {}}, "write"),
    ("PUT", "/thumbnail", {"thumbnail": "x"}, "write"),
    ("POST", "/coordinator", START, "start"),
    ("POST", "/coordinator", STOP, "stop"),
    ("DELETE", "", None, "write"),
]
"""Method, path below /flows/:id, body, permission needed."""

ids = [f"{method} {path or '/'} {body or ''}" for method, path, body, _ in CALLS]
table = pytest.mark.parametrize("method, path, body, permission", CALLS, ids=ids)
prefixes = pytest.mark.parametrize("prefix", ["", "/api"])


def shared(owner: User, *permissions: str, **grantee: str) -> str:
    shares = [{**grantee, "permissions": list(permissions)}] if permissions else []
    answer = owner.post("/flows", {"name": SECRET, "flow": BEGIN, "sharedWith": shares})
    return f"/flows/{answer.json['flowId']}"


@prefixes
@table
def test_a_stranger_gets_404_and_no_data(
    ann: User, stranger: User, prefix: str, method: str, path: str, body: Any, permission: str
) -> None:
    flow = shared(ann, "read", "start", "stop", email="bob@acme.test")
    before = ann.get(flow).json
    answer = stranger.call(method, prefix + flow + path, body)
    assert answer.status_code == 404
    assert SECRET not in answer.text
    assert ann.get(flow).json == before


@prefixes
@table
def test_nobody_gets_401(
    ann: User, nobody: User, prefix: str, method: str, path: str, body: Any, permission: str
) -> None:
    flow = shared(ann, "read", scope="user")
    answer = nobody.call(method, prefix + flow + path, body)
    assert answer.status_code == 401
    assert SECRET not in answer.text


@pytest.mark.parametrize("given", [("read",), ("read", "start"), ("stop",), ("read", "start", "stop")])
@table
def test_a_recipient_may_do_what_the_share_says(
    ann: User, bob: User, given: tuple[str, ...], method: str, path: str, body: Any, permission: str
) -> None:
    flow = shared(ann, *given, domain="acme.test")
    answer = bob.call(method, flow + path, body)
    if permission in given:
        assert answer.status_code == 200, answer.json
    else:
        assert answer.status_code == 403
        assert SECRET not in answer.text
        assert ann.get(flow).json["name"] == SECRET


@table
def test_owner_and_administrator_may_do_everything(
    ann: User, admin: User, method: str, path: str, body: Any, permission: str
) -> None:
    for user in (ann, admin):
        answer = user.call(method, shared(ann) + path, body)
        assert answer.status_code == 200, answer.json


@table
def test_a_flow_that_is_not_there_is_404_or_made(ann: User, method: str, path: str, body: Any, permission: str) -> None:
    answer = ann.call(method, f"/flows/no-such-flow{path}", body)
    assert answer.status_code == (200 if method == "PUT" and path != "/thumbnail" else 404)
