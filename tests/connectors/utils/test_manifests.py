"""Every component of the four modules has a manifest, a class, an icon and working references."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema_rs
import orjson
import pytest

from engine.model.manifest import read_manifest
from engine.sdk import Component
from tests.connectors.recorder import ROOT, behaviour, manifest, transform

MODULES = ("controls", "filters", "timers", "test")
UTILS = ROOT / "appmixer" / "utils"
TYPES = sorted(
    f"appmixer.utils.{module}.{path.parent.name}"
    for module in MODULES
    for path in (UTILS / module).glob("*/component.json")
)
CORPUS = Path(__file__).parents[3].parent / "shared" / "corpus" / "manifests.jsonl.gz"
EFFECTS_STATE = {
    "Counter", "Digest", "JoinEach", "OnError", "StopFlow", "Timer", "Scheduler", "SchedulerTrigger", "Wait",
    "AfterAll", "BeforeAll", "CallCount", "test.Join",
}  # fmt: skip


def test_all_of_the_reference_are_here() -> None:
    assert [sum(t.split(".")[2] == m for t in TYPES) for m in MODULES] == [14, 9, 5, 7]


@pytest.mark.parametrize("type", TYPES)
def test_name_class_and_effects(type: str) -> None:
    assert manifest(type).name == type
    component = behaviour(type)
    assert isinstance(component, Component)
    _, _, module, name = type.split(".")
    expected = "state" if {name, f"{module}.{name}"} & EFFECTS_STATE else "none"
    assert component.effects == ("external" if name == "ProcessE2EResults" else expected)


@pytest.mark.parametrize(
    "path", sorted(str(p.relative_to(UTILS)) for m in MODULES for p in (UTILS / m).rglob("*.json"))
)
def test_icons_are_small_svg_line_drawings(path: str) -> None:
    raw = orjson.loads((UTILS / path).read_bytes())
    head, _, data = raw["icon"].partition(",")
    assert head == "data:image/svg+xml;base64"
    svg = ElementTree.fromstring(base64.b64decode(data))
    assert svg.get("viewBox") == "0 0 24 24"
    assert len(data) < 1000


@pytest.mark.parametrize("type", TYPES)
def test_schemas_compile(type: str) -> None:
    found = manifest(type)
    ports = [*(p.schema for p in found.in_ports), *(p.schema for p in found.out_ports)]
    for schema in (found.properties_schema, *ports):
        if schema is not None:
            jsonschema_rs.Draft7Validator(dict(schema))


def sources(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if isinstance(node.get("source"), dict) and "url" in node["source"]:
            yield node["source"]
        for value in node.values():
            yield from sources(value)
    elif isinstance(node, list):
        for value in node:
            yield from sources(value)


@pytest.mark.parametrize("type", TYPES)
def test_dynamic_sources_lead_to_components_ports_and_functions(type: str) -> None:
    for source in sources(manifest(type).raw):
        path, _, query = source["url"].partition("?")
        target = ".".join(path.split("/")[2:])
        assert manifest(target).out_port(query.removeprefix("outPort="))
        if reference := source["data"].get("transform"):
            assert callable(transform(target, reference))


def shape(raw: dict[str, Any]) -> dict[str, Any]:
    """Type, port and field names: what flows refer to."""
    found = read_manifest(raw)

    def fields(schema: Any, inspector: Any) -> set[str]:
        branches = [schema or {}, *((schema or {}).get("oneOf") or [])]
        return {n for b in branches for n in b.get("properties") or {}} | set((inspector or {}).get("inputs") or {})

    return {
        "in": {p.name: fields(p.schema, p.inspector) for p in found.in_ports},
        "out": {p.name: {o["value"] for o in p.options} for p in found.out_ports},
        "properties": fields(found.properties_schema, (raw.get("properties") or {}).get("inspector")),
        "required": {p.name: sorted((p.schema or {}).get("required") or []) for p in found.in_ports},
        "limits": {p.name: p.max_connections for p in found.in_ports},
        "flags": (found.tick, found.persistent, found.private, found.quota_manager, found.quota_resources),
    }


@pytest.mark.skipif(not CORPUS.exists(), reason="the corpus of real manifests is not beside the project")
@pytest.mark.parametrize("type", TYPES)
def test_names_are_those_of_the_original(type: str) -> None:
    with gzip.open(CORPUS, "rt", encoding="utf-8") as lines:
        real = {row["json"]["name"]: row["json"] for row in map(orjson.loads, lines)}
    assert shape(dict(manifest(type).raw)) == shape(real[type])
