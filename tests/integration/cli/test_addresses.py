"""Where the server listens is where this installation's own calls and commands go."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from engine.settings import Settings, SettingsError, load

ASKING = '''
from engine.sdk import Component, Context


class Ask(Component):
    """Answers the webhook with what the API says of the flow's owner."""

    def receive(self, context: Context) -> None:
        context.respond(context.call_api("/user")["username"])
'''
TRIGGER = "appmixer.utils.http.WebhookTrigger"
FLOW: dict[str, Any] = {
    "hook": {"type": TRIGGER, "source": {}, "config": {"properties": {"immediateResponse": False}}},
    "ask": {"type": "acme.own.core.Ask", "source": {"in": {"hook": ["request"]}}, "config": {}},
}


@pytest.mark.parametrize("host", ["127.0.0.2", "0.0.0.0", "localhost"])
def test_steps_and_commands_find_the_server(
    environment: dict[str, str],
    start_server: Callable[..., subprocess.Popen[str]],
    headrace: Callable[..., Result],
    tmp_path: Path,
    host: str,
) -> None:
    place = tmp_path / "connectors/acme/own/core/Ask"
    place.mkdir(parents=True)
    (place / "component.json").write_text(json.dumps({"name": "acme.own.core.Ask", "inPorts": ["in"]}))
    (place / "component.py").write_text(ASKING)
    (tmp_path / "ask.json").write_text(json.dumps({"name": "Ask", "flow": FLOW}))
    environment |= {"HEADRACE_HOST": host, "HEADRACE_CONNECTORS": str(tmp_path / "connectors")}
    assert headrace("user", "create", "ann@example.com", "--admin", "--password", "correct horse").exit_code == 0
    start_server()
    made = headrace("flow", "import", str(tmp_path / "ask.json"))
    assert made.exit_code == 0, made.output
    flow_id = made.output.split()[0]
    assert headrace("flow", "start", flow_id).exit_code == 0
    hook = f"{load(environment).local_url}/flows/{flow_id}/components/hook"
    with urllib.request.urlopen(hook, b"", timeout=30) as answer:
        assert answer.read() == b"ann@example.com"


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "http://127.0.0.1:2200"),
        ({"host": "0.0.0.0"}, "http://127.0.0.1:2200"),
        ({"host": "192.0.2.5", "port": 80}, "http://192.0.2.5:80"),
        ({"host": "flows.internal"}, "http://flows.internal:2200"),
        ({"host": "::1"}, "http://[::1]:2200"),
        ({"host": "::"}, "http://[::1]:2200"),
        ({"url": "https://flows.example.com"}, "http://127.0.0.1:2200"),
        ({"own_url": "http://web:2200/"}, "http://web:2200"),
    ],
)
def test_the_own_address(given: dict[str, Any], url: str) -> None:
    assert Settings(**given).local_url == url


@pytest.mark.parametrize("text", ["web:2200", "ftp://web", "http://"])
def test_an_own_address_that_is_none_stops_the_start(text: str) -> None:
    with pytest.raises(SettingsError, match="HEADRACE_OWN_URL"):
        load({"HEADRACE_OWN_URL": text})
