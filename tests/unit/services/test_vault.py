from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import HeadraceError
from engine.services.vault import Vault

TOKENS = st.dictionaries(st.text(), st.text() | st.integers(-(2**53), 2**53) | st.none())


@given(TOKENS)
def test_what_is_sealed_opens_again(token: dict[str, object]) -> None:
    vault = Vault("secret")
    assert vault.open(vault.seal(token)) == token


def test_the_seal_hides_the_content_and_differs_each_time() -> None:
    vault = Vault("secret")
    first, second = vault.seal({"key": "hunter2"}), vault.seal({"key": "hunter2"})
    assert "hunter2" not in first
    assert first != second


def test_another_secret_does_not_open() -> None:
    sealed = Vault("one").seal({"key": 1})
    with pytest.raises(HeadraceError, match="HEADRACE_SECRET") as caught:
        Vault("two").open(sealed)
    assert caught.value.code == "SEALED"


def test_a_changed_seal_does_not_open() -> None:
    sealed = Vault("one").seal({"key": 1})
    flipped = ("A" if sealed[30] != "A" else "B") + sealed[31:]
    with pytest.raises(HeadraceError):
        Vault("one").open(sealed[:30] + flipped)


def test_a_former_secret_still_opens_but_the_new_one_seals() -> None:
    old = Vault("old").seal("x")
    rotated = Vault("new", "old")
    assert rotated.open(old) == "x"
    assert Vault("new").open(rotated.seal("y")) == "y"
