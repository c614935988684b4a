"""A descriptor as a list of steps to read: in the order messages pass them, with what comes from where."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from heapq import heappop, heappush
from typing import Any

from engine.model.manifest import Manifest

Lookup = Callable[[str], Manifest | None]


def lookup_in(catalogue: Any) -> Lookup:
    """Manifests by component type, from the catalogue."""

    def lookup(type: str) -> Manifest | None:
        found = catalogue.get(type)
        return found.manifest if found else None

    return lookup


def steps_of(flow: Mapping[str, Any], lookup: Lookup) -> list[dict[str, Any]]:
    """→ [{id, label, type, kind, inputs: [{port, label, out}], ports, webhook, disabled, known}].

    `kind` is "trigger" or "action". The descriptor may be an unfinished draft: links to steps that
    are not there are left out.
    """
    labels = labels_of(flow, lookup)
    return [_step(cid, flow[cid], labels, lookup) for cid in _in_order(flow)]


def labels_of(flow: Mapping[str, Any], lookup: Lookup) -> dict[str, str]:
    """What people call each step: its own label, else the component's."""
    names = {}
    for cid, step in flow.items():
        manifest = lookup(str(step.get("type")))
        names[cid] = step.get("label") or (manifest.label if manifest else str(step.get("type")).rsplit(".", 1)[-1])
    return names


def _step(cid: str, step: Mapping[str, Any], labels: Mapping[str, str], lookup: Lookup) -> dict[str, Any]:
    manifest = lookup(str(step.get("type")))
    inputs = [
        {"port": port, "label": labels[sender], "out": out}
        for port, sender, outs in _links(step)
        for out in outs
        if sender in labels
    ]
    return {
        "id": cid,
        "label": labels[cid],
        "type": step.get("type"),
        "kind": "trigger" if not inputs and (manifest is None or manifest.trigger) else "action",
        "inputs": inputs,
        "ports": [port.name for port in manifest.in_ports] if manifest else [],
        "webhook": bool(manifest and manifest.webhook),
        "disabled": step.get("disabled") is True,
        "known": manifest is not None,
    }


def _links(step: Mapping[str, Any]) -> list[tuple[str, str, list[str]]]:
    """(in port, sender, its out ports) of each link."""
    source = step.get("source") or {}
    return [
        (port, sender, [outs] if isinstance(outs, str) else list(outs))
        for port, senders in source.items()
        for sender, outs in (senders or {}).items()
    ]


def _in_order(flow: Mapping[str, Any]) -> list[str]:
    """Senders before receivers; among equals, from left to right as drawn. A circle is broken at its leftmost step."""
    drawn = sorted(flow, key=lambda cid: (_number(flow[cid].get("x")), _number(flow[cid].get("y"))))
    place = {cid: position for position, cid in enumerate(drawn)}
    waits = {cid: {sender for _, sender, _ in _links(step) if sender in flow} for cid, step in flow.items()}
    receivers: dict[str, list[str]] = {}
    for cid, senders in waits.items():
        for sender in senders:
            receivers.setdefault(sender, []).append(cid)
    ready = [place[cid] for cid in drawn if not waits[cid]]
    left = dict.fromkeys(drawn)
    order: list[str] = []
    while left:
        cid = drawn[heappop(ready)] if ready else next(iter(left))
        if cid not in left:
            continue
        del left[cid]
        order.append(cid)
        for receiver in receivers.get(cid, ()):
            waits[receiver].discard(cid)
            if not waits[receiver]:
                heappush(ready, place[receiver])
    return order


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
