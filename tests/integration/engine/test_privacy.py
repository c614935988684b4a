"""What the run log, the process log and the API tell of contents, and what they do not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest

from engine.ports import Query
from engine.rules.masking import MASK
from tests.integration.engine.conftest import Lab, until

Make = Callable[..., dict[str, Any]]
SECRET = "hunter22-secret"


@pytest.fixture
def vault(lab: Lab) -> Lab:
    """A step with a password among its properties, one among its input, and one in its account's form."""
    lab.component(
        "Login",
        """
        effects = "none"
        def receive(self, context):
            content = context.messages["in"].content
            context.log({"pin": content["pin"], "user": "anna"})
            if content.get("fail"):
                raise StepError(f"refused {content['pin']} and {context.properties['key']}", retryable=False)
            context.send({"pin": content["pin"], "authorization": "Bearer abc", "n": content["n"]}, "out")
        """,
        inPorts=[
            {
                "name": "in",
                "schema": {
                    "type": "object",
                    "properties": {"pin": {"type": "string", "format": "password", "maxLength": 100}},
                },
            }
        ],
        properties={"inspector": {"inputs": {"key": {"type": "password"}}}},
    )
    lab.open()
    return lab


def texts(lab: Lab, flow_id: str) -> str:
    return orjson.dumps(lab.log(flow_id)).decode()


def flow(lab: Lab, make: Make, **record: Any) -> str:
    steps = {
        "hook": make("Hook"),
        "login": make(
            "Login",
            ("hook", "out"),
            fields={name: f"{{{{{{$.@hook@.out.{name}}}}}}}" for name in ("pin", "headers", "n", "fail")},
            properties={"key": "property-secret"},
            errorHandling={"autoRetry": False},
        ),
        "echo": make("Echo", ("login", "out"), fields={"authorization": "{{{$.@login@.out.authorization}}}"}),
    }
    flow_id = lab.flow(steps, start=False)
    lab.platform.flows.save(flow_id, record, lab.caller)
    lab.platform.lifecycle.start(flow_id)
    return flow_id


def test_passwords_and_headers_are_masked_in_the_run_log(vault: Lab, make: Make) -> None:
    flow_id = flow(vault, make)
    vault.post(flow_id, "hook", {"pin": SECRET, "headers": {"Cookie": "s=1"}, "n": 1})
    assert vault.inputs(flow_id, "login") == [{"pin": MASK, "headers": {"Cookie": MASK}, "n": 1, "fail": None}]
    assert vault.outputs(flow_id, "login") == [{"pin": MASK, "authorization": MASK, "n": 1}]
    lines = [r for r in vault.log(flow_id, "login") if r["portType"] == "log"]
    assert [orjson.loads(line["msg"]) for line in lines] == [{"pin": MASK, "user": "anna"}]
    # the next step knows nothing of the password, but of the header
    assert vault.inputs(flow_id, "echo")[0]["authorization"] == MASK


def test_a_failed_try_tells_no_secret(vault: Lab, make: Make, caplog: pytest.LogCaptureFixture) -> None:
    flow_id = flow(vault, make)
    with caplog.at_level(logging.INFO):
        vault.post(flow_id, "hook", {"pin": SECRET, "fail": True})
    [kept] = vault.unprocessed(flow_id)
    [record] = vault.errors(flow_id, "login")
    assert record["msg"] == f"refused {MASK} and {MASK}"
    assert orjson.loads(record["inputMessages"]) == {"in": {"pin": MASK, "headers": None, "n": None, "fail": True}}
    assert SECRET not in kept["err"]
    assert SECRET not in caplog.text
    assert "property-secret" not in caplog.text + texts(vault, flow_id)


def test_a_value_that_does_not_fit_is_not_repeated(vault: Lab, make: Make) -> None:
    flow_id = flow(vault, make)
    vault.post(flow_id, "hook", {"pin": SECRET * 20})
    [record] = vault.errors(flow_id, "login")
    assert "pin" in record["msg"]
    assert SECRET not in orjson.dumps([record, vault.unprocessed(flow_id)[0]["err"]]).decode()


def test_unprocessed_messages_are_shown_masked_and_tried_again_complete(vault: Lab, make: Make) -> None:
    flow_id = flow(vault, make)
    vault.post(flow_id, "hook", {"pin": SECRET, "fail": True})
    message_id = vault.unprocessed(flow_id)[0]["messageId"]
    service = vault.platform.unprocessed
    shown = service.info(vault.caller.user_id, message_id)
    assert shown["messages"]["in"][0]["content"]["pin"] == MASK
    assert SECRET not in orjson.dumps(service.find(vault.caller.user_id, Query())).decode()
    service.retry(vault.caller.user_id, message_id)
    records = vault.errors(flow_id, "login", 2)
    assert all(MASK in r["msg"] for r in records)  # the pin it raised about was the real one
    assert SECRET in vault.platform.documents.find("unprocessed", Query())[0]["messages"]["in"][0]["content"]["pin"]


@pytest.mark.parametrize(
    ("payloads", "ordinary", "failed"),
    [("always", True, True), ("errors", False, True), ("never", False, False), (None, True, True)],
)
def test_a_flow_says_which_contents_are_kept(
    vault: Lab, make: Make, payloads: str | None, ordinary: bool, failed: bool
) -> None:
    flow_id = flow(vault, make, payloads=payloads)
    vault.post(flow_id, "hook", {"pin": "1234", "n": "first"})
    vault.post(flow_id, "hook", {"pin": "1234", "n": "second", "fail": True})
    vault.errors(flow_id, "login")
    until(lambda: len([r for r in vault.log(flow_id, "echo") if r["portType"] == "out"]) == 1)
    text = texts(vault, flow_id)
    assert ("first" in text) == ordinary
    assert ("second" in text) == failed
    shown = vault.platform.unprocessed.find(vault.caller.user_id, Query())[0]["messages"]["in"][0]
    assert (shown["content"] is not None) == (payloads != "never")


def test_payloads_can_change_while_the_flow_runs(vault: Lab, make: Make) -> None:
    flow_id = flow(vault, make)
    vault.platform.flows.save(flow_id, {"payloads": "never"}, vault.caller)
    vault.post(flow_id, "hook", {"pin": "1234", "n": "first"})
    until(lambda: len([r for r in vault.log(flow_id, "echo") if r["portType"] == "out"]) == 1)
    assert "first" not in texts(vault, flow_id)


def test_only_the_owner_sees_passwords_of_a_flow(vault: Lab, make: Make) -> None:
    flow_id = flow(vault, make)
    flows = vault.platform.flows
    admin = replace(vault.caller, user_id="somebody", email="a@b.c")
    login = vault.ids["login"]

    def key(record: Any) -> str:
        return str(record["flow"][login]["config"]["properties"]["key"])

    assert key(flows.get(flow_id, vault.caller)) == "property-secret"
    assert key(flows.get(flow_id, admin)) == MASK
    changed = flows.get(flow_id, admin)["flow"]
    changed[login]["label"] = "renamed"
    flows.save(flow_id, {"flow": changed}, admin, force=True)
    stored = flows.get(flow_id, vault.caller)
    assert (key(stored), stored["flow"][login]["label"]) == ("property-secret", "renamed")


def test_a_clone_of_anothers_flow_has_no_passwords(vault: Lab, make: Make) -> None:
    flow_id = flow(vault, make)
    admin = replace(vault.caller, user_id="somebody", email="a@b.c")
    clone = vault.platform.flows.clone(flow_id, admin, {})
    assert "property-secret" not in orjson.dumps(vault.platform.documents.get("flows", clone["_id"])).decode()
