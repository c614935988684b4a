"""Static calls: a component's `receive` outside any message flow (engine.md §2 "source", §6 "Static call")."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from engine.compiler import ComponentType, Plan, Step
from engine.errors import BadRequest, NotFound
from engine.model.flow import ErrorHandling
from engine.model.message import Message, new_id
from engine.ports import Clock, Doc, Documents
from engine.rules.masking import logging_of
from engine.rules.schemas import with_defaults
from engine.sdk import Incoming
from engine.services.context import StepContext
from engine.services.plans import RunningFlow
from engine.values.registry import builtin_registry
from engine.values.template import FlowVariables, compile_properties

if TYPE_CHECKING:
    from engine.services.toolbox import Toolbox


class Catalogue(Protocol):
    """The part of the catalogue that static calls need."""

    def get(self, type: str, /) -> ComponentType | None: ...
    def transform(self, component: Any, reference: str, /) -> Callable[[Any], Any]: ...


class Components:
    """`tools` is set by wiring: the toolbox holds this service and this service makes contexts from it."""

    tools: Toolbox

    def __init__(self, catalogue: Catalogue, documents: Documents, clock: Clock) -> None:
        self._catalogue = catalogue
        self._documents = documents
        self._clock = clock

    def call(
        self,
        type: str,
        port: str,
        *,
        properties: Mapping[str, Any] | None = None,
        messages: Mapping[str, Any] | None = None,
        transform: str | None = None,
        user_id: str,
        flow_id: str = "",
        component_id: str = "",
    ) -> Any:
        """What `type` sends to `port`, after `transform`; None when it sends nothing there.

        Runs with the account and state of the component `component_id` that owns the field.
        Raises NotFound for an unknown component, port or transform, for a flow that is not the user's, and
        whatever the component raises.
        """
        component = self._catalogue.get(type)
        if component is None:
            raise NotFound(f"there is no component {type!r}", code="UNKNOWN_COMPONENT")
        if component.manifest.out_port(port) is None:
            raise NotFound(f"{component.manifest.name} has no out port {port!r}", code="UNKNOWN_PORT")
        running, step = self._owner(component, user_id, flow_id, component_id)
        given = with_defaults(dict(properties or {}), component.manifest.properties_schema)
        message = Message(
            new_id(self._clock.now()), flow_id, running.run, 0, component_id, new_id(), "in", None, {},
            self._clock.now(), kind="start", depth=1,  # of no execution: a webhook's URL must not be bound to one
        )  # fmt: skip
        context = StepContext(self.tools, running, step, message, _arrivals(messages or {}), given)
        component.behaviour.receive(context)
        result = next((e.content for e in context.result.emissions if e.port == port), None)
        return self._catalogue.transform(component, transform)(result) if transform else result

    def manifest(self, type: str) -> Mapping[str, Any] | None:
        """The component.json of a component, or None."""
        component = self._catalogue.get(type)
        return component.manifest.raw if component else None

    def _owner(
        self, component: ComponentType, user_id: str, flow_id: str, component_id: str
    ) -> tuple[RunningFlow, Step]:
        record: Doc = (self._documents.get("flows", flow_id) or {}) if flow_id else {"userId": user_id}
        if record.get("userId") != user_id:  # the flow's and the step's state are reached through these ids
            raise NotFound(f"there is no flow {flow_id}", code="FLOW_NOT_FOUND")
        variables = FlowVariables(
            flow_id=flow_id,
            flow_name=record.get("name") or "",
            user_id=user_id,
            custom_fields=record.get("customFields") or {},
            url=self.tools.api_url,
        )
        accounts = record.get("accounts") or {}
        plan = Plan({}, None)
        running = RunningFlow(flow_id, record.get("run") or 0, 0, "stopped", user_id, variables, accounts, plan)
        manifest = component.manifest
        empty = compile_properties({}, {}, builtin_registry())
        step = Step(
            component_id, manifest.name, manifest.label, manifest, component.behaviour, True, component.trusted,
            False, ErrorHandling(), empty, (), {}, {}, {}, (), False, logging_of(component.password_fields),
        )  # fmt: skip
        return running, step


def _arrivals(messages: Mapping[str, Any]) -> dict[str, Incoming]:
    """`{"in/shelf": 1}` and `{"in": {"shelf": 1}}` are the same message (engine.md §2)."""
    contents: dict[str, Any] = {}
    for key, value in messages.items():
        port, _, field = key.partition("/")
        if not field:
            contents[port] = value
            continue
        content = contents.setdefault(port, {})
        if not isinstance(content, dict):
            raise BadRequest(f"messages.{key}: {port} is given both as a whole and by field")
        content[field] = value
    return {port: Incoming(content, content) for port, content in contents.items()}
