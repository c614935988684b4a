"""How BeforeAll, AfterAll and CallCount agree on a test run (spec/utils-components.md, "test").

Receivers enter themselves in the flow state `signalReceivers` when the flow starts. BeforeAll
puts {started, runId} into the flow state `state` and sends the signal {beforeAll: {now, runId}};
every receiver resets itself and answers with the signal {componentId, componentType, runId}.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engine.sdk import Context, Incoming

RECEIVERS = "signalReceivers"
RUN = "state"

Scope = Mapping[str, Mapping[str, Any]]


def register(context: Context) -> None:
    context.flow_state.add_to_set(RECEIVERS, context.component_id)


def receivers(context: Context) -> set[str]:
    """Registered components that are still part of the flow."""
    return set(context.flow_state.get(RECEIVERS) or ()) & set(context.flow_descriptor)


def run_id(context: Context) -> str | None:
    """The run that was begun last."""
    run = context.flow_state.get(RUN) or {}
    found: str | None = run.get("runId")
    return found


def begun(context: Context) -> str | None:
    """The id of the run the signal of this call announces."""
    announced = context.signal_content.get("beforeAll") if isinstance(context.signal_content, Mapping) else None
    return announced["runId"] if announced else None


def answer(context: Context, run: str) -> None:
    context.send_signal({"componentId": context.component_id, "componentType": context.component_type, "runId": run})


def kept(message: Incoming, **more: Any) -> dict[str, Any]:
    """What a gather keeps of a message: where it came from, its content and its scope."""
    link = f"{message.sender_id}:{message.sender_port}"
    return {
        "link": link,
        "sender": message.sender_id,
        "content": message.original_content,
        "scope": _scope(message),
        **more,
    }


def _scope(message: Incoming) -> dict[str, dict[str, Any]]:
    """The variables a step behind this message can read, the message's own content among them."""
    scope = {component: dict(ports) for component, ports in message.scope.items()}
    if message.sender_id and message.sender_port:
        scope.setdefault(message.sender_id, {})[message.sender_port] = message.original_content
    return scope


def merged(scopes: Iterable[Scope]) -> dict[str, dict[str, Any]]:
    """All branches' variables together; the later branch wins where two differ."""
    result: dict[str, dict[str, Any]] = {}
    for scope in scopes:
        for component, ports in scope.items():
            result.setdefault(component, {}).update(ports)
    return result
