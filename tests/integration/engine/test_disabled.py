"""A disabled step passes on what comes, as it comes, and has no output of its own (engine.md §4 "disabled")."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.engine.conftest import Lab, step

STRICT = {
    "inPorts": [
        {"name": "in", "schema": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}}
    ]
}


@pytest.mark.parametrize("fields", [{}, {"a": "{{{bad}}}"}], ids=["required field missing", "modifier that fails"])
def test_neither_its_mapping_nor_its_schema_keeps_a_message_up(lab: Lab, fields: dict[str, Any]) -> None:
    lab.component("Strict", 'def receive(self, context):\n    context.send({"ran": True}, "out")', **STRICT)
    lab.open()
    broken = {"a": {"bad": {"variable": "$.@hook@.out.n", "functions": [{"name": "g_no_such_modifier"}]}}}
    reads = {"disabled": "{{{$.@off@.out}}}", "before": "{{{$.@hook@.out.n}}}"}
    flow = lab.flow(
        {
            "hook": step("Hook"),
            "off": step("Strict", ("hook", "out"), fields=fields, modifiers=broken, disabled=True),
            "echo": step("Echo", ("off", "out"), fields=reads),
        }
    )
    lab.post(flow, "hook", {"n": 1})
    assert lab.outputs(flow, "off") == [{"n": 1}]
    assert lab.outputs(flow, "echo") == [{"disabled": None, "before": 1}]
