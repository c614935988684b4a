"""Whether a descriptor's steps and links are legal. Pure; mirrored in the designer.

Saving accepts an unfinished draft; starting needs no problem at all (issue: "Bad input").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from engine.model.flow import Descriptor, StepSpec
from engine.model.manifest import Manifest

ERROR_PORT = "error"
Lookup = Callable[[str], Manifest | None]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one component; `field` is a path inside it."""

    component_id: str
    field: str
    message: str
    keyword: str = "invalid"

    def to_json(self) -> dict[str, str]:
        return {
            "componentId": self.component_id,
            "path": f"flow.{self.component_id}.{self.field}",
            "keyword": self.keyword,
            "message": self.message,
        }


def problems(descriptor: Descriptor, lookup: Lookup) -> list[Problem]:
    """All that keeps the flow from starting, except what only mappings and accounts can tell."""
    found: list[Problem] = []
    for step in descriptor.steps.values():
        manifest = lookup(step.type)
        if manifest is None:
            found.append(Problem(step.id, "type", f"unknown component {step.type}", "unknownComponent"))
            continue
        if step.disabled and manifest.trigger:
            found.append(Problem(step.id, "disabled", f"{_name(step)} is a trigger and cannot be disabled", "disabled"))
        found.extend(_links(step, manifest, descriptor, lookup))
    found.extend(_crowded_out_ports(descriptor, lookup))
    found.extend(_cycles(descriptor))
    return found


def _name(step: StepSpec) -> str:
    return f"{step.label or step.type.rsplit('.', 1)[-1]} ({step.id})"


def _links(step: StepSpec, manifest: Manifest, descriptor: Descriptor, lookup: Lookup) -> Iterator[Problem]:
    for port, senders in step.source.items():
        declared = manifest.in_port(port)
        if declared is None:
            yield Problem(step.id, f"source.{port}", f"{_name(step)} has no in port {port!r}", "unknownPort")
            continue
        count = sum(len(outs) for outs in senders.values())
        if declared.max_connections and count > declared.max_connections:
            yield Problem(
                step.id,
                f"source.{port}",
                f"{_name(step)}: in port {port!r} takes {declared.max_connections} link(s), not {count}",
                "maxConnections",
            )
        for sender_id, outs in senders.items():
            field = f"source.{port}.{sender_id}"
            sender = descriptor.steps.get(sender_id)
            if sender is None:
                message = f"{_name(step)} is linked to {sender_id}, which is not in the flow"
                yield Problem(step.id, field, message, "missingNode")
                continue
            if sender_id == step.id:
                yield Problem(step.id, field, f"{_name(step)} is linked to itself", "selfLink")
            sender_manifest = lookup(sender.type)
            for out in outs:
                if sender_manifest and out != ERROR_PORT and sender_manifest.out_port(out) is None:
                    message = f"{_name(step)} is linked to out port {out!r}, which {_name(sender)} does not have"
                    yield Problem(step.id, field, message, "unknownPort")


def _crowded_out_ports(descriptor: Descriptor, lookup: Lookup) -> Iterator[Problem]:
    links: dict[tuple[str, str], int] = {}
    for step in descriptor.steps.values():
        for senders in step.source.values():
            for sender_id, outs in senders.items():
                for out in outs:
                    links[sender_id, out] = links.get((sender_id, out), 0) + 1
    for (sender_id, out), count in links.items():
        sender = descriptor.steps.get(sender_id)
        manifest = lookup(sender.type) if sender else None
        port = manifest.out_port(out) if manifest else None
        if sender and port and port.max_connections and count > port.max_connections:
            message = f"{_name(sender)}: out port {out!r} takes {port.max_connections} link(s), not {count}"
            yield Problem(sender_id, f"outPorts.{out}", message, "maxConnections")


def successors(descriptor: Descriptor) -> dict[str, list[str]]:
    result: dict[str, list[str]] = {cid: [] for cid in descriptor.steps}
    for step in descriptor.steps.values():
        for senders in step.source.values():
            for sender_id in senders:
                if sender_id in result:
                    result[sender_id].append(step.id)
    return result


def _cycles(descriptor: Descriptor) -> Iterator[Problem]:
    """One problem per loop found, by a depth-first walk without recursion (flows may be deep)."""
    following = successors(descriptor)
    colour: dict[str, int] = {}
    for root in descriptor.steps:
        if root in colour:
            continue
        trail: list[tuple[str, Iterator[str]]] = [(root, iter(following[root]))]
        colour[root] = 1
        while trail:
            here, rest = trail[-1]
            for target in rest:
                if target == here:
                    continue  # a self-link is reported by itself
                if colour.get(target) == 1:
                    loop = [cid for cid, _ in trail]
                    names = " → ".join(_name(descriptor.steps[c]) for c in [*loop[loop.index(target) :], target])
                    yield Problem(target, "source", f"the links form a loop: {names}", "cycle")
                elif target not in colour:
                    colour[target] = 1
                    trail.append((target, iter(following[target])))
                    break
            else:
                colour[here] = 2
                trail.pop()
