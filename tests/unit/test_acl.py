"""Ownership and sharing as pure decisions (rest-api.md §3)."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import BadRequest, Forbidden, NotFound
from engine.rules.acl import ALL, Caller, check_shares, owns, permissions, require, require_admin, visible_shares


def caller(name: str = "bob@acme.test", *scope: str, id: str = "u2") -> Caller:
    return Caller(id, name, name.lower() if "@" in name else name, frozenset(("user", *scope)))


def flow(*shares: dict[str, Any]) -> dict[str, Any]:
    return {"_id": "f", "userId": "u1", "sharedWith": list(shares)}


OWNER = caller("ann@acme.test", id="u1")
ADMIN = caller("root@acme.test", "admin", id="u9")
FIELDS = [
    ({"email": "bob@acme.test"}, True),
    ({"email": "BOB@Acme.Test"}, True),
    ({"email": "bo@acme.test"}, False),
    ({"domain": "acme.test"}, True),
    ({"domain": "ACME.test"}, True),
    ({"domain": "me.test"}, False),
    ({"scope": "user"}, True),
    ({"scope": "tester"}, False),
    ({}, False),
]


@pytest.mark.parametrize("grantee, means_bob", FIELDS)
def test_a_share_reaches_whom_it_names(grantee: dict[str, str], means_bob: bool) -> None:
    shared = flow({**grantee, "permissions": ["read"]})
    assert permissions(shared, caller()) == ({"read"} if means_bob else set())


def test_shares_add_up() -> None:
    shared = flow({"scope": "user", "permissions": ["read"]}, {"domain": "acme.test", "permissions": ["start", "fly"]})
    assert permissions(shared, caller()) == {"read", "start"}


def test_owner_and_administrator_may_do_everything() -> None:
    assert permissions(flow(), OWNER) == permissions(flow(), ADMIN) == ALL
    assert owns(flow(), OWNER)
    assert not owns(flow(), caller())


def test_a_user_without_an_address_has_no_domain() -> None:
    assert permissions(flow({"domain": "", "permissions": ["read"]}), caller("bob")) == set()


def test_strangers_learn_nothing_and_others_why() -> None:
    with pytest.raises(NotFound):
        require(flow(), caller(), "read", "f")
    with pytest.raises(NotFound):
        require(None, OWNER, "read", "f")
    shared = flow({"scope": "user", "permissions": ["read"]})
    assert require(shared, caller(), "read", "f") == shared
    for permission in ("start", "stop", "write"):
        with pytest.raises(Forbidden, match="f is shared with you"):
            require(shared, caller(), permission, "f")


def test_only_administrators_are_administrators() -> None:
    require_admin(ADMIN)
    with pytest.raises(Forbidden):
        require_admin(OWNER)


def test_a_recipient_sees_only_their_own_share() -> None:
    shares = ({"email": "bob@acme.test", "permissions": ["read"]}, {"email": "eve@x.test", "permissions": ["read"]})
    assert visible_shares(flow(*shares), OWNER) == list(shares)
    assert visible_shares(flow(*shares), ADMIN) == list(shares)
    assert visible_shares(flow(*shares), caller()) == [shares[0]]


def test_shares_are_stored_in_one_form() -> None:
    given = [{"email": " Bob@Acme.Test ", "permissions": ["read", "start", "read"], "more": 1}]
    assert check_shares(given) == [{"email": "bob@acme.test", "permissions": ["read", "start"]}]


@pytest.mark.parametrize(
    "shares",
    [
        "everybody",
        [None],
        [{}],
        [{"email": "a@b.c"}],
        [{"email": "a@b.c", "permissions": []}],
        [{"email": "a@b.c", "permissions": ["write"]}],
        [{"email": "a@b.c", "permissions": "read"}],
        [{"email": "a@b.c", "scope": "user", "permissions": ["read"]}],
        [{"email": 5, "permissions": ["read"]}],
    ],
)
def test_a_wrong_share_is_named(shares: Any) -> None:
    with pytest.raises(BadRequest, match="sharedWith"):
        check_shares(shares)
