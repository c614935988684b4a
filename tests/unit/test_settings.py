"""What is wrong with a setting is told by its name (docs/settings.md)."""

from __future__ import annotations

import pytest

from engine.settings import SettingsError, load


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "70000"),
        ("PORT", "many"),
        ("STEP_THREADS", "0"),
        ("CHILDREN", "100"),
        ("EXECUTION_MESSAGES", "0"),
        ("WEBHOOK_RATE", "-1"),
        ("URL", "example.com"),
        ("MONGO_URL", "mongodb://localhost/headrace"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"HEADRACE_{name}"):
        load({f"HEADRACE_{name}": value})
