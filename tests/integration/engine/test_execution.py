"""What happens to a message on its way through a flow (engine.md §4, §5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from engine.errors import BadRequest, NotFound, TimedOut
from engine.services.webhooks import WebhookRequest

Make = Callable[..., dict[str, Any]]


def test_a_webhook_answers_with_what_a_later_step_says(lab: Any, make: Make) -> None:
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "answer": make("Answer", ("hook", "out"))})
    reply = lab.post(flow, "hook", {"n": 1})
    assert (reply.status, reply.body, reply.headers) == (201, {"n": 1}, {"x-lab": "yes"})


def test_an_execution_that_ends_without_an_answer_replies_204(lab: Any, make: Make) -> None:
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "echo": make("Echo", ("hook", "out"), fields={"a": 1})})
    assert lab.post(flow, "hook", {}).status == 204


def test_204_also_when_the_last_step_ran_elsewhere(lab: Any, make: Make) -> None:
    lab.component("Outside", 'def receive(self, context):\n    context.send({}, "out")')
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "a": make("Outside", ("hook", "out")), "b": make("Outside", ("a", "out"))})
    assert lab.post(flow, "hook", {}).status == 204


def test_no_answer_in_time_is_504_and_the_execution_goes_on(lab: Any, make: Make) -> None:
    lab.component("Later", 'effects = "state"\ndef receive(self, context):\n    context.set_timeout({}, 60000)')
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "later": make("Later", ("hook", "out"))})
    with pytest.raises(TimedOut) as caught:
        lab.post(flow, "hook", {})
    assert caught.value.status == 504
    assert caught.value.details[0]["correlationId"]


def test_enqueue_only_answers_202_at_once(lab: Any, make: Make) -> None:
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "echo": make("Echo", ("hook", "out"), fields={"a": 1})})
    assert lab.post(flow, "hook", {}, enqueue_only=True).status == 202
    assert lab.outputs(flow, "echo") == [{"a": 1}]


def test_variables_of_any_ancestor_and_types(lab: Any, make: Make) -> None:
    lab.component(
        "Typed",
        'effects = "none"\ndef receive(self, context):\n    context.send(context.messages["in"].content, "out")',
        inPorts=[
            {
                "name": "in",
                "schema": {"properties": {"list": {"type": "array"}, "text": {"type": "string"}, "mixed": {}}},
            }
        ],
    )
    lab.open()
    fields = {
        "list": "{{{$.@hook@.out.items}}}",
        "text": "{{{$.@hook@.out.items}}}",
        "mixed": "n={{{$.@hook@.out.n}}}",
        "gone": "{{{$.no-such-step.out.x}}}",
    }
    flow = lab.flow(
        {
            "hook": make("Hook"),
            "echo": make("Echo", ("hook", "out"), fields={"x": 1}),
            "typed": make("Typed", ("echo", "out"), fields=fields),
        }
    )
    lab.post(flow, "hook", {"items": [1, {"a": 2}], "n": 7})
    got = lab.inputs(flow, "typed")[0]
    assert got["list"] == [1, {"a": 2}]
    assert got["text"] == '[1,{"a":2}]'
    assert got["mixed"] == "n=7"
    assert got["gone"] is None


def test_branches_do_not_see_each_other_and_a_second_link_has_its_own_mapping(lab: Any, make: Make) -> None:
    lab.open()
    joined = make("Echo", ("left", "out"), fields={"via": "left", "r": "{{{$.@right@.out.v}}}"})
    other = make("Echo", ("right", "out"), fields={"via": "right", "l": "{{{$.@left@.out.v}}}"})
    joined["source"]["in"].update(other["source"]["in"])
    joined["config"]["transform"]["in"].update(other["config"]["transform"]["in"])
    flow = lab.flow(
        {
            "hook": make("Hook"),
            "left": make("Echo", ("hook", "out"), fields={"v": "L"}),
            "right": make("Echo", ("hook", "out"), fields={"v": "R"}),
            "joined": joined,
        }
    )
    lab.post(flow, "hook", {})
    got = sorted(lab.inputs(flow, "joined", 2), key=lambda c: c["via"])
    assert got == [{"via": "left", "r": None}, {"via": "right", "l": None}]


def test_stale_mappings_are_ignored(lab: Any, make: Make) -> None:
    lab.open()
    echo = make("Echo", ("hook", "out"), fields={"ok": True})
    echo["config"]["transform"]["in"]["was-deleted"] = {"out": {"lambda": {"bad": True}, "modifiers": {}}}
    flow = lab.flow({"hook": make("Hook"), "echo": echo})
    lab.post(flow, "hook", {})
    assert lab.inputs(flow, "echo") == [{"ok": True}]


def test_a_disabled_step_hands_its_input_on(lab: Any, make: Make) -> None:
    lab.open()
    flow = lab.flow(
        {
            "hook": make("Hook"),
            "off": make("Echo", ("hook", "out"), fields={"never": 1}, disabled=True),
            "answer": make("Answer", ("off", "out")),
        }
    )
    assert lab.post(flow, "hook", {"through": True}).body == {"through": True}


# -- failures


FAILURES = {
    "throws": ("raise KeyError('boom')", "KeyError"),
    "exits": ("raise SystemExit(3)", "SystemExit"),
    "cannot retry": ("raise StepError('not today', code='404')", "not today"),
    "unknown port": ("context.send({}, 'nowhere')", "unknown port 'nowhere'"),
    "not json": ("context.send({'x': object()}, 'out')", "not JSON"),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_failing_step_ends_in_the_log_and_in_unprocessed_messages(lab: Any, make: Make, kind: str) -> None:
    code, reason = FAILURES[kind]
    lab.component("Bad", f"def receive(self, context):\n    {code}")
    lab.options["retry_attempts"] = 1
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "bad": make("Bad", ("hook", "out")), "ok": make("Echo", ("hook", "out"))})
    lab.post(flow, "hook", {"n": 1}, enqueue_only=True)
    record = lab.unprocessed(flow)[0]
    assert reason in orjson.loads(record["err"])["message"]
    assert record["messages"]["in"][0]["originalContent"] == {"n": 1}
    assert lab.outputs(flow, "ok")  # the worker lives on
    errors = lab.errors(flow, "bad")
    assert len(errors) == 1
    assert reason in errors[0]["msg"]


def test_a_step_over_its_limit_is_given_up_and_the_worker_lives_on(lab: Any, make: Make) -> None:
    lab.component("Hang", "def receive(self, context):\n    time.sleep(3)\n    context.send({'late': True}, 'out')")
    lab.options |= {"receive_timeout": 0.3, "step_threads": 4}
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "hang": make("Hang", ("hook", "out"))})
    lab.post(flow, "hook", {}, enqueue_only=True)
    assert "0.3 seconds" in orjson.loads(lab.unprocessed(flow)[0]["err"])["message"]
    lab.idle()
    other = lab.flow({"hook": make("Hook"), "answer": make("Answer", ("hook", "out"))})
    assert lab.post(other, "hook", {}).status == 201


def test_retries_back_off_and_then_give_up(lab: Any, make: Make) -> None:
    lab.component("Flaky", "def receive(self, context):\n    raise StepError('busy', code='503')")
    lab.options |= {"retry_attempts": 3, "retry_first": 10.0}
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "flaky": make("Flaky", ("hook", "out"))})
    lab.post(flow, "hook", {}, enqueue_only=True)
    lab.idle()
    assert lab.pass_time(9) == 0
    assert lab.pass_time(2) == 1
    lab.idle()
    assert lab.pass_time(19) == 0
    assert lab.pass_time(2) == 1
    assert orjson.loads(lab.unprocessed(flow)[0]["err"])["code"] == "503"
    lab.idle()
    assert len(lab.errors(flow, "flaky", 3)) == 3


def test_a_retry_that_succeeds_goes_on(lab: Any, make: Make) -> None:
    lab.component(
        "Second",
        """
        def receive(self, context):
            if context.state.inc("tries") is not None and not context.state.get("failed"):
                context.state.set("failed", True)
                raise StepError("busy", code="503")
            context.send({"tries": context.state.get("tries")}, "out")
        """,
    )
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "second": make("Second", ("hook", "out"))})
    lab.post(flow, "hook", {}, enqueue_only=True)
    lab.idle()
    lab.pass_time(2)
    # the increment belongs to the message, not to the try: it counts once
    assert lab.outputs(flow, "second") == [{"tries": 1}]


def test_the_error_port_takes_failures(lab: Any, make: Make) -> None:
    lab.component("Bad", "def receive(self, context):\n    raise StepError('no stock', code='422')")
    lab.open()
    flow = lab.flow(
        {
            "hook": make("Hook"),
            "bad": make("Bad", ("hook", "out"), errorHandling={"onError": "errorPort"}),
            "echo": make("Echo", ("bad", "error"), fields={"why": "{{{$.@bad@.error.error.message}}}"}),
        }
    )
    lab.post(flow, "hook", {"n": 1}, enqueue_only=True)
    assert lab.inputs(flow, "echo") == [{"why": "no stock"}]
    assert lab.outputs(flow, "bad")[0]["input"] == {"n": 1}


def test_cancel_discards_without_a_record(lab: Any, make: Make) -> None:
    lab.component("Cancel", "def receive(self, context):\n    raise CancelError('not interesting')")
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "cancel": make("Cancel", ("hook", "out"))})
    assert lab.post(flow, "hook", {}).status == 204
    lab.idle()
    assert lab.platform.documents.count("unprocessed") == 0
    assert lab.platform.documents.count("timers") == 0


def test_input_that_does_not_fit_the_schema_is_not_retried(lab: Any, make: Make) -> None:
    lab.component(
        "Strict",
        'effects = "none"\ndef receive(self, context):\n    context.send({}, "out")',
        inPorts=[{"name": "in", "schema": {"properties": {"n": {"type": "number"}}, "required": ["n"]}}],
    )
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "s": make("Strict", ("hook", "out"), fields={"n": "{{{$.@hook@.out.n}}}"})})
    lab.post(flow, "hook", {"n": "12"})  # text that is a number fits
    assert lab.inputs(flow, "s") == [{"n": 12}]
    lab.post(flow, "hook", {"n": "twelve"})
    error = orjson.loads(lab.unprocessed(flow)[0]["err"])
    assert error["code"] == "GRID_ERR_VAL_PORTS"
    assert "n: " in error["message"]


# -- webhooks that cannot be delivered


def test_unknown_targets_are_not_found(lab: Any, make: Make) -> None:
    lab.open()
    flow = lab.flow({"hook": make("Hook")}, start=False)
    with pytest.raises(NotFound, match="is stopped"):
        lab.post(flow, "hook", {})
    lab.platform.lifecycle.start(flow)
    request = WebhookRequest("POST", "lab", {}, {}, None)
    with pytest.raises(NotFound, match="no component"):
        lab.platform.webhooks.accept(flow, "nobody", request)
    with pytest.raises(NotFound, match="no flow"):
        lab.platform.webhooks.accept("nowhere", "nobody", request)


def test_calls_in_a_circle_are_cut(lab: Any, make: Make) -> None:
    lab.open()
    flow = lab.flow({"hook": make("Hook")})
    with pytest.raises(BadRequest, match="circle"):
        lab.post(flow, "hook", {}, depth=50)
