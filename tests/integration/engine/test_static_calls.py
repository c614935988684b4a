"""Static calls stand for a field of somebody's own flow, and belong to no execution."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import NotFound
from engine.ports import Query
from tests.integration.engine.conftest import Lab, step

TRIGGER = "appmixer.utils.http.WebhookTrigger"


def test_the_address_a_trigger_shows_is_bound_to_no_execution(lab: Lab) -> None:
    lab.open()
    flow = lab.flow({"hook": step(TRIGGER)})
    form = lab.platform.components.call(
        TRIGGER,
        "request",
        properties={"generateInspector": True},
        user_id=lab.caller.user_id,
        flow_id=flow,
        component_id=lab.ids["hook"],
    )
    assert form["inputs"]["url"]["defaultValue"].endswith(f"/flows/{flow}/components/{lab.ids['hook']}")
    assert lab.platform.documents.find("continuity", Query()) == []


def test_nobody_reaches_the_state_of_somebody_elses_step(lab: Lab) -> None:
    kind = lab.component(
        "Keeper",
        """
        def receive(self, context):
            context.state.set("secret", "mine")
            context.send(context.state.load(), "out")
        """,
    )
    lab.open()
    flow = lab.flow({"keeper": step("Keeper")})
    call = lab.platform.components.call
    place: dict[str, Any] = {"flow_id": flow, "component_id": lab.ids["keeper"]}
    assert call(kind, "out", user_id=lab.caller.user_id, **place) == {"secret": "mine"}
    with pytest.raises(NotFound, match="no flow"):
        call(kind, "out", user_id="somebody else", **place)
    with pytest.raises(NotFound, match="no flow"):
        call(kind, "out", user_id=lab.caller.user_id, flow_id="gone", component_id=lab.ids["keeper"])
