from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from connectors.appmixer.utils.ftp import auth
from engine.sdk import StepError
from tests.connectors.world import FakeHttp


def context(account: dict[str, Any]) -> SimpleNamespace:
    return SimpleNamespace(auth=account, http=FakeHttp())


def test_an_account_is_right_when_the_login_works(account: dict[str, Any]) -> None:
    assert auth.validate(context(account)) is True


def test_a_refused_login_shows_the_servers_words(account: dict[str, Any]) -> None:
    with pytest.raises(StepError, match="530"):
        auth.validate(context(account | {"password": "wrong"}))


def test_sftp_accounts_are_checked_as_well(sftp: dict[str, Any]) -> None:
    assert auth.validate(context(sftp)) is True


def test_the_account_is_named_after_user_and_server() -> None:
    assert auth.account_name_from_profile_info(context({"host": "ftp.test", "username": "ann"})) == "ann@ftp.test"
    assert auth.account_name_from_profile_info(context({"host": "ftp.test"})) == "anonymous@ftp.test"
