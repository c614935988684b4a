"""What a flow knows of itself, new ids, and JavaScript."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from engine.values.frame import Call
from engine.values.paths import compile_path
from engine.values.registry import Argument, Example, modifier


@modifier(
    "g_flowId", "Flow ID", "control", "The id of this flow.",
    returns="string", input=None, contextual=True,
    examples=[Example(None, [], "flow-1"), Example("ignored", [], "flow-1")],
)  # fmt: skip
def flow_id(call: Call) -> str:
    return call.frame.flow.flow_id


@modifier(
    "g_flowName", "Flow name", "control", "The name of this flow.",
    returns="string", input=None, contextual=True,
    examples=[Example(None, [], "Orders"), Example("ignored", [], "Orders")],
)  # fmt: skip
def flow_name(call: Call) -> str:
    return call.frame.flow.flow_name


@modifier(
    "g_userId", "User ID", "control", "The id of the user who owns this flow.",
    returns="string", input=None, contextual=True,
    examples=[Example(None, [], "user-1"), Example("ignored", [], "user-1")],
)  # fmt: skip
def user_id(call: Call) -> str:
    return call.frame.flow.user_id


@modifier(
    "g_webhookUrl", "Webhook URL", "control", "The address at which this step takes calls from outside.",
    returns="string", input=None, contextual=True,
    examples=[
        Example(None, [], "https://example.com/flows/flow-1/components/c1"),
        Example("ignored", [], "https://example.com/flows/flow-1/components/c1"),
    ],
)  # fmt: skip
def webhook_url(call: Call) -> str:
    return call.frame.flow.webhook_url(call.frame.component_id)


@modifier(
    "g_customFields", "Custom fields", "control", "The custom fields of this flow, or one of them.",
    Argument("path", "string", "the field to take, such as customer.id; all of them when empty", default=""),
    returns="any", input=None, contextual=True,
    examples=[Example(None, ["customer.id"], 7), Example(None, [], {"customer": {"id": 7}})],
)  # fmt: skip
def custom_fields(call: Call, path: str) -> Any:
    return compile_path(path)(dict(call.frame.flow.custom_fields))


@modifier(
    "g_uuid4", "UUID", "control", "A new UUID, the same one when a message is delivered a second time.",
    returns="string", input=None, contextual=True,
    examples=[
        Example(None, [], "a775753c-a786-4a23-a3fc-066d486fd7e0"),
        Example("ignored", [], "a775753c-a786-4a23-a3fc-066d486fd7e0"),
    ],
)  # fmt: skip
def uuid4(call: Call) -> str:
    return str(UUID(bytes=call.random_bytes(16), version=4))


@modifier(
    "g_javascript", "JavaScript", "control",
    "Runs JavaScript on the value: the body of a function, in which it is called value.",
    Argument("code", "string", "for example: return value.length * 2"),
    returns="any", variable=True,
    examples=[
        Example("abc", ["return 'fixed'"], "fixed"),
        Example([1, 2], ["return value.map(x => x * 2)"], [2, 4]),
        Example(4, ["value + args[0]", 3], 7),
    ],
)  # fmt: skip
def javascript(value: Any, code: str, *args: Any) -> Any:
    from engine.values.javascript import run_body

    return run_body(code, value, args)
