"""A flow descriptor made into an executable plan: everything that need not be done per message.

A plan is plain data with compiled functions: input mappings, validators, where each out port
leads, and which outputs anything downstream can still read. Plans are immutable and shared by
all threads; 10,000 of them are kept in memory, so they are small.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jsonschema_rs

from engine.errors import BadRequest
from engine.model.flow import Descriptor, ErrorHandling, StepSpec
from engine.model.manifest import Manifest
from engine.rules.links import Problem, problems
from engine.rules.masking import DEFAULT_FIELDS, SHORTEST_SECRET, Logging, PayloadMode, logging_of
from engine.rules.schemas import text_fields, validator, with_defaults
from engine.rules.webhook_settings import read_settings
from engine.sdk import Component
from engine.values.registry import Registry
from engine.values.template import Compiled, compile_mapping, compile_properties

EVERYTHING = None
"""Value of `needs` when a component reads the whole scope by itself."""

Output = tuple[str, str]
"""(component id, out port)"""

Outputs = Collection[Output]
"""Few stand in a tuple, which takes a quarter of a set's memory."""

_FEW = 8


class ComponentType(Protocol):
    """What the compiler asks of a catalogue entry."""

    @property
    def manifest(self) -> Manifest: ...
    @property
    def behaviour(self) -> Component: ...
    @property
    def trusted(self) -> bool: ...
    @property
    def password_fields(self) -> frozenset[str]:
        """Names of the fields its manifest and its service's auth form declare as passwords."""


Lookup = Callable[[str], ComponentType | None]


@dataclass(slots=True)
class Step:
    """One component of a plan.

    `inputs`: (in port, sender, out port) → mapping; a link that is absent has no mapping.
    `links`: (in port, sender, out port) of every incoming link, only of a step with fire patterns.
    `targets`: out port → ((component id, in port), …).
    `needs`: outputs of earlier steps that this step or anything after it reads.
    `external`: calls the world outside (design.md §4.4).
    `inline`: its message may be executed where it was received: nothing foreign is reached before the
    next external step.
    `logging`: what the run log may hold of its contents.
    """

    id: str
    type: str
    label: str
    manifest: Manifest
    behaviour: Component
    external: bool
    trusted: bool
    disabled: bool
    error_handling: ErrorHandling
    properties: Compiled
    links: tuple[tuple[str, str, str], ...]
    inputs: dict[tuple[str, str, str], Compiled]
    validators: dict[str, jsonschema_rs.Validator | None]
    targets: dict[str, tuple[tuple[str, str], ...]]
    needs: Outputs | None
    inline: bool
    logging: Logging


@dataclass(frozen=True, slots=True)
class Privacy:
    """`masked`: names of fields and headers that hold secrets in any component; `payloads`: which contents are kept."""

    masked: frozenset[str] = frozenset(DEFAULT_FIELDS)
    payloads: PayloadMode = "always"


@dataclass(slots=True)
class Plan:
    """`read` are all outputs any step reads: others need not be carried."""

    steps: dict[str, Step]
    read: Outputs | None


def check(descriptor: Descriptor, lookup: Lookup, accounts: Mapping[str, str | None]) -> list[Problem]:
    """All that keeps the flow from starting, each naming component and field."""

    def manifest_of(type: str) -> Manifest | None:
        found = lookup(type)
        return found.manifest if found else None

    found = problems(descriptor, manifest_of)
    for step in descriptor.steps.values():
        component = lookup(step.type)
        if component is None or step.disabled:
            continue
        if component.manifest.auth_service and not accounts.get(step.id):
            message = f"{step.label or component.manifest.label} needs an account of {component.manifest.auth_service}"
            found.append(Problem(step.id, "account", message, "missingAccount"))
        found.extend(_wrong_properties(step, component.manifest))
        found.extend(_wrong_webhook(step, component.manifest))
    return found


def _wrong_properties(step: StepSpec, manifest: Manifest) -> list[Problem]:
    # `check` is for the flow's owner, who knows the values; its problems are not logged
    if (check := validator(manifest.properties_schema)) is None:
        return []
    given = dict(with_defaults(step.properties, manifest.properties_schema))
    if any("{{{" in str(value) for value in given.values()):
        return []  # known only when a message comes
    return [
        Problem(
            step.id,
            "config.properties" + "".join(f".{p}" for p in error.instance_path),
            f"{step.label or manifest.label}: {error.message}",
        )
        for error in check.iter_errors(given)
    ]


def _wrong_webhook(step: StepSpec, manifest: Manifest) -> list[Problem]:
    """A check of callers that is set up wrongly; the flow must not start without it."""
    if not manifest.webhook_settings:
        return []
    given = with_defaults(step.properties, manifest.properties_schema)
    if any("{{{" in str(value) for value in given.values()):
        return []  # known only when the flow's variables are
    try:
        read_settings(given)
    except BadRequest as error:
        return [
            Problem(
                step.id, f"config.properties.{p['path']}", f"{step.label or manifest.label}: {p['path']} {p['message']}"
            )
            for p in error.details
        ]
    return []


def compile_flow(
    descriptor: Descriptor,
    lookup: Lookup,
    registry: Registry,
    privacy: Privacy = Privacy(),
) -> Plan:
    """Raises BadRequest when a component is unknown, has no usable code, or a mapping cannot be compiled.

    Call `check` first for everything else.
    """
    targets = _targets(descriptor)
    steps = {}
    for spec in descriptor.steps.values():
        component = lookup(spec.type)
        if component is None:
            raise BadRequest(f"flow.{spec.id}.type: unknown component {spec.type}")
        steps[spec.id] = _compile_step(spec, component, targets.get(spec.id, _NO_TARGETS), registry, privacy)
    reads = {cid: _reads(step) for cid, step in steps.items()}
    _liveness(steps, reads)
    every = EVERYTHING if any(r is None for r in reads.values()) else frozenset().union(*filter(None, reads.values()))
    if every is not EVERYTHING:
        every = frozenset(output for output in every if output[0] not in steps or not steps[output[0]].disabled)
    for cid in _inline(steps):
        steps[cid].inline = True
    return Plan(steps, _small(every))


def _targets(descriptor: Descriptor) -> dict[str, dict[str, tuple[tuple[str, str], ...]]]:
    result: dict[str, dict[str, list[tuple[str, str]]]] = {}
    for step in descriptor.steps.values():
        for port, senders in step.source.items():
            for sender, outs in senders.items():
                for out in outs:
                    result.setdefault(sender, {}).setdefault(out, []).append((step.id, port))
    return {cid: {out: tuple(links) for out, links in outs.items()} for cid, outs in result.items()}


def _compile_step(
    spec: StepSpec,
    component: ComponentType,
    targets: dict[str, tuple[tuple[str, str], ...]],
    registry: Registry,
    privacy: Privacy,
) -> Step:
    manifest, secrets = component.manifest, component.password_fields
    ports = _port_rules(manifest, secret=bool(secrets))
    inputs = {}
    # a disabled step passes on what comes as it is (engine.md §4): nothing is mapped, checked or read from it
    for port_name, senders in () if spec.disabled else spec.source.items():
        port = manifest.in_port(port_name)
        if port is None or port.bare:
            continue
        for sender, outs in senders.items():
            for out in outs:
                mapping = spec.transform.get(port_name, {}).get(sender, {}).get(out)
                lambda_, modifiers = (mapping.lambda_, mapping.modifiers) if mapping else ({}, {})
                inputs[port_name, sender, out] = compile_mapping(
                    lambda_, modifiers, registry, text_fields=ports.text[port_name]
                )
    return Step(
        id=spec.id,
        type=manifest.name,
        label=spec.label or manifest.label,
        manifest=manifest,
        behaviour=component.behaviour,
        external=component.behaviour.effects == "external" and not spec.disabled,
        trusted=component.trusted,
        disabled=spec.disabled,
        error_handling=spec.error_handling,
        properties=compile_properties(
            with_defaults(spec.properties, manifest.properties_schema), spec.property_modifiers, registry
        ),
        links=_links(spec) if manifest.fire_patterns else (),
        inputs=inputs or _NO_INPUTS,
        validators={} if spec.disabled else ports.validators,
        targets=targets,
        needs=(),
        inline=False,
        logging=logging_of(
            secrets | privacy.masked if secrets else privacy.masked, privacy.payloads, _secret_values(spec, secrets)
        ),
    )


@dataclass(frozen=True, slots=True)
class _PortRules:
    """What all steps of one manifest share."""

    manifest: Manifest
    text: dict[str, frozenset[str]]
    validators: dict[str, jsonschema_rs.Validator | None]


_NO_INPUTS: dict[tuple[str, str, str], Compiled] = {}
_NO_TARGETS: dict[str, tuple[tuple[str, str], ...]] = {}
_port_rules_of: dict[str, _PortRules] = {}


def _port_rules(manifest: Manifest, *, secret: bool) -> _PortRules:
    known = _port_rules_of.get(manifest.name)
    if known is None or known.manifest is not manifest:
        known = _port_rules_of[manifest.name] = _PortRules(
            manifest,
            {port.name: text_fields(port) for port in manifest.in_ports},
            {port.name: validator(port.schema, secret=secret) for port in manifest.in_ports},
        )
    return known


def _links(spec: StepSpec) -> tuple[tuple[str, str, str], ...]:
    return tuple((p, s, o) for p, senders in spec.source.items() for s, outs in senders.items() for o in outs)


def _secret_values(spec: StepSpec, names: frozenset[str]) -> frozenset[str]:
    given = (spec.properties.get(name) for name in names)
    return frozenset(text for text in given if isinstance(text, str) and len(text) >= SHORTEST_SECRET)


def _reads(step: Step) -> frozenset[Output] | None:
    if step.behaviour.reads_scope:
        return EVERYTHING
    found = set(step.properties.reads)
    for mapping in step.inputs.values():
        found |= mapping.reads
    return frozenset(found)


def _liveness(steps: dict[str, Step], reads: dict[str, frozenset[Output] | None]) -> None:
    """Set `needs` of every step. Loops are cut where met."""
    done: set[str] = set()
    needs: dict[str, frozenset[Output] | None] = {}
    shared: dict[frozenset[Output], Outputs | None] = {}
    for root in steps:
        trail = [(root, iter(_next_ids(steps[root])))] if root not in done else []
        entered = {root}
        while trail:
            here, rest = trail[-1]
            for target in rest:
                if target in steps and target not in done and target not in entered:
                    entered.add(target)
                    trail.append((target, iter(_next_ids(steps[target]))))
                    break
            else:
                following = [needs.get(t, frozenset()) for t in _next_ids(steps[here]) if t in steps]
                found = needs[here] = _needs(here, reads[here], following)
                steps[here].needs = shared.setdefault(found, _small(found)) if found is not None else EVERYTHING
                done.add(here)
                trail.pop()


def _small(outputs: frozenset[Output] | None) -> Outputs | None:
    return tuple(outputs) if outputs is not None and len(outputs) <= _FEW else outputs


def _needs(
    cid: str, reads: frozenset[Output] | None, following: list[frozenset[Output] | None]
) -> frozenset[Output] | None:
    """What a step reads and what its successors need, except its own output: no message brings that to it."""
    needs: set[Output] = set()
    for part in following:
        if part is None:
            return EVERYTHING
        needs |= part
    return EVERYTHING if reads is None else reads.union(o for o in needs if o[0] != cid)


def _next_ids(step: Step) -> list[str]:
    return [cid for links in step.targets.values() for cid, _ in links]


def _inline(steps: dict[str, Step]) -> frozenset[str]:
    """From where only the product's own steps are reached before an external one: none of them can hang."""
    senders: dict[str, list[str]] = {}
    for cid, step in steps.items():
        for target in _next_ids(step):
            senders.setdefault(target, []).append(cid)
    inside = {cid for cid, step in steps.items() if not step.external}
    waiting = [cid for cid in inside if not steps[cid].trusted]
    while waiting:
        here = waiting.pop()
        if here in inside:
            inside.discard(here)
            waiting.extend(senders.get(here, ()))
    return frozenset(inside)


def trim(scope: dict[str, dict[str, Any]], needs: Outputs | None) -> dict[str, dict[str, Any]]:
    """Only the outputs in `needs`; everything when a component reads the whole scope by itself."""
    if needs is EVERYTHING or not scope:
        return scope
    result: dict[str, dict[str, Any]] = {}
    for cid, port in needs:
        outputs = scope.get(cid)
        if outputs is not None and port in outputs:
            result.setdefault(cid, {})[port] = outputs[port]
    return result
