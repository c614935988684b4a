"""Components that misbehave, and content at the edges of what can be stored (issue: "Bad input, and what it gets").

Whatever a component does, its message ends in the log and in unprocessed messages with the reason,
and the workers go on.
"""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import BadRequest
from tests.integration.engine.conftest import Lab, step, until

MISDEEDS = [
    'raise ValueError("half a pair \\ud800")',
    "raise SystemExit(1)",
    "import sys; sys.exit()",
    "raise KeyboardInterrupt()",
    "raise GeneratorExit()",
    'context.send({}, "nowhere")',
    'context.send(object(), "out")',
    'context.send(2**70, "out")',
    'context.send("\\ud800", "out")',
    'context.send({}, "out", scope={"a": {"b": object()}})',
    "context.send_signal(object())",
    "context.respond(object())",
    "context.respond({}, True)",
    'context.log("\\ud800")',
    'context.log("x", level={"a": object()})',
    "context.set_timeout(object(), 1000)",
    "context.set_timeout({}, 1e300)",
    'context.set_timeout({}, float("nan"))',
    'context.set_max_wait("not a date")',
    'context.state.set("key", object())',
    'context.gather("group").add(object())',
    'context.cache_set("key", object(), 100)',
    'context.add_listener("event", {"a": object()})',
]


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("effects", ["external", "state"])
@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_a_misdeed_ends_in_the_log_and_the_workers_go_on(lab: Lab, misdeed: str, effects: str) -> None:
    lab.component("Bad", f'effects = "{effects}"\ndef receive(self, context):\n    {misdeed}')
    lab.open()
    once = {"autoRetry": False}
    flow = lab.flow({"hook": step("Hook"), "bad": step("Bad", ("hook", "out"), errorHandling=once)})
    for n in range(6):  # more than there are threads for steps that stay inside
        lab.post(flow, "hook", {"n": n}, enqueue_only=True)
    assert len(lab.unprocessed(flow, 6)) == 6
    assert len(lab.errors(flow, "bad", 6)) == 6
    lab.idle()
    good = lab.flow({"hook": step("Hook")})
    lab.post(good, "hook", "still here", enqueue_only=True)
    assert lab.outputs(good, "hook") == ["still here"]


@pytest.mark.parametrize("levels", range(225, 253))
def test_deeply_nested_content_passes_or_is_refused_but_never_sticks(lab: Lab, levels: int) -> None:
    """JSON may be stored up to 254 levels deep, and an envelope adds some: the edge must be a clear one."""
    lab.component("Call", 'def receive(self, context):\n    context.send(context.messages["in"].content, "out")')
    lab.open()
    flow = lab.flow(
        {
            "hook": step("Hook"),
            "call": step("Call", ("hook", "out")),
            "reader": step("Echo", ("call", "out"), fields={"all": "{{{$.@hook@.out}}}"}),
        }
    )
    lab.post(flow, "hook", deep(levels), enqueue_only=True)
    lab.idle()
    until(lambda: lab.log(flow, "reader") or lab.platform.documents.find("unprocessed"), "an end")


def test_what_cannot_be_stored_at_all_is_refused(lab: Lab) -> None:
    lab.open()
    flow = lab.flow({"hook": step("Hook"), "echo": step("Echo", ("hook", "out"))})
    for content in (deep(300), deep(240), {"half": "\ud800"}, {"large": 2**70}):
        with pytest.raises(BadRequest, match="content: cannot be sent"):
            lab.platform.webhooks.inject(flow, lab.ids["echo"], "in", content)
