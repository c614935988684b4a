from __future__ import annotations

import pytest

from tests import needs


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_what_is_missing_fails_where_all_must_be_there(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no-such-program is not installed: nothing runs"):
        needs.program("no-such-program", "nothing runs")
    assert needs.program("sh", "nothing runs").endswith("/sh")
