"""Manifests, classes, icons, references, accounts and quotas of the built-in modules."""

from __future__ import annotations

import base64
import importlib
from collections import Counter
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import jsonschema_rs
import orjson
import pytest

from connectors.appmixer.utils.http.hook_form import FORM
from engine.model.manifest import read_manifest
from engine.sdk import Component, Quota
from tests.connectors.recorder import ROOT, behaviour, manifest, transform
from tests.needs import corpus

UTILS = ROOT / "appmixer" / "utils"
COUNTS = {
    "controls": 14, "filters": 9, "timers": 5, "test": 7, "storage": 15, "files": 6, "csv": 15, "http": 10, "ftp": 9,
}  # fmt: skip
TYPES = sorted(
    f"appmixer.utils.{m}.{path.parent.name}" for m in COUNTS for path in (UTILS / m).glob("*/component.json")
)
EFFECTS = {
    "external": {
        "files.DownloadFile", "test.ProcessE2EResults",
        *(f"http.{name}" for name in ("Get", "Post", "Put", "Patch", "Delete", "Uptime")),
    },
    "state": {
        *(f"controls.{n}" for n in ("Counter", "Digest", "JoinEach", "OnError", "StopFlow")),
        *(f"timers.{n}" for n in ("Timer", "Scheduler", "SchedulerTrigger", "Wait")),
        *(f"test.{n}" for n in ("AfterAll", "BeforeAll", "CallCount", "Join")),
    },
    "none": {
        "csv.CreateInspector", *(f"http.{n}" for n in ("WebhookTrigger", "Webhook", "DynamicWebhook", "Response")),
    },
}  # fmt: skip
"""Where a component's effects are not those of its module."""
MODULE_EFFECTS = {
    "controls": "none", "filters": "none", "timers": "none", "test": "none", "storage": "state", "files": "state",
    "csv": "state", "ftp": "external",
}  # fmt: skip
EXPLAINED = ("storage", "files", "csv", "http", "ftp")
"""Modules whose inputs all have a tooltip."""
QUOTAS: dict[str, tuple[set[str], int, Quota]] = {
    "controls": ({"Digest"}, 10_000, Quota(15, resource="digest", queueing="fifo")),
    "files": (
        {"SaveFile", "DownloadFile", "ArchiveFile"},
        120_000,
        Quota(80, throttling="limit-concurrency", queueing="fifo"),
    ),
    "csv": ({"AddRow", "AddRows"}, 120_000, Quota(80, throttling="limit-concurrency", queueing="fifo")),
}
"""By module: which components wait for a slot, how long (ms), and by which rule."""


def test_all_of_the_reference_are_here() -> None:
    assert Counter(name.split(".")[2] for name in TYPES) == COUNTS


@pytest.mark.parametrize("type", TYPES)
def test_name_class_and_effects(type: str) -> None:
    assert manifest(type).name == type
    component = behaviour(type)
    assert isinstance(component, Component)
    _, _, module, name = type.split(".")
    special = [effects for effects, names in EFFECTS.items() if f"{module}.{name}" in names]
    assert component.effects == (special[0] if special else MODULE_EFFECTS[module])


@pytest.mark.parametrize("path", sorted(str(p.relative_to(UTILS)) for m in COUNTS for p in (UTILS / m).rglob("*.json")))
def test_icons_are_small_svg_line_drawings(path: str) -> None:
    raw = orjson.loads((UTILS / path).read_bytes())
    head, _, data = raw["icon"].partition(",")
    assert head == "data:image/svg+xml;base64"
    assert ElementTree.fromstring(base64.b64decode(data)).get("viewBox") == "0 0 24 24"
    assert len(data) < 1000


@pytest.mark.parametrize("type", TYPES)
def test_schemas_compile(type: str) -> None:
    found = manifest(type)
    for schema in (
        found.properties_schema,
        *(port.schema for port in found.in_ports),
        *(port.schema for port in found.out_ports),
    ):
        if schema is not None:
            jsonschema_rs.Draft7Validator(dict(schema))


@pytest.mark.parametrize("type", [name for name in TYPES if name.split(".")[2] in EXPLAINED])
def test_every_input_is_explained_and_has_a_place(type: str) -> None:
    found = manifest(type)
    inspectors = [(found.raw.get("properties") or {}).get("inspector"), *(p.inspector for p in found.in_ports)]
    for inspector in filter(None, inspectors):
        typed = [field for field in inspector["inputs"].values() if "type" in field]
        assert all(field["label"] and field["tooltip"] for field in typed)
        assert [field["index"] for field in typed] == list(range(1, len(typed) + 1))


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


@pytest.mark.parametrize("type", TYPES)
def test_quotas_lead_to_rules(type: str) -> None:
    found = manifest(type)
    _, _, module, name = type.split(".")
    names, wait, expected = QUOTAS.get(module, (set(), 0, None))
    assert (found.quota_manager is not None) is (name in names)
    if found.quota_manager is not None:
        assert found.quota_manager == f"appmixer:utils:{module}"
        assert found.quota_max_wait == wait
        rules: list[Quota] = importlib.import_module(f"connectors.appmixer.utils.{module}.quota").rules
        [rule] = [rule for rule in rules if rule.resource in found.quota_resources]
        assert expected is not None
        assert (rule.limit, rule.throttling, rule.queueing) == (expected.limit, expected.throttling, expected.queueing)


# -- against the original


@pytest.fixture(scope="module")
def originals() -> dict[str, Any]:
    return {row["json"]["name"]: row["json"] for row in corpus("manifests")}


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


@pytest.mark.parametrize("type", TYPES)
def test_names_are_those_of_the_original(type: str, originals: dict[str, Any]) -> None:
    real, ours = shape(originals[type]), shape(dict(manifest(type).raw))
    if manifest(type).webhook_settings:  # the original has none
        ours["properties"] -= set(FORM)
    real_out, our_out = real.pop("out"), ours.pop("out")
    assert ours == real
    assert list(our_out) == list(real_out)
    if not type.endswith(".ListStores"):  # there the original has label and value the wrong way round
        assert all(our_out[port] >= real_out[port] for port in real_out)


@pytest.mark.parametrize("type", TYPES)
def test_no_words_are_those_of_the_original(type: str, originals: dict[str, Any]) -> None:
    """Names are facts; sentences are ours."""

    def sentences(node: Any) -> set[str]:
        if isinstance(node, dict):
            kept = {v for k, v in node.items() if k in ("description", "tooltip") and isinstance(v, str)}
            return kept.union(*map(sentences, node.values()))
        return set().union(*map(sentences, node)) if isinstance(node, list) else set()

    assert not sentences(dict(manifest(type).raw)) & sentences(originals[type])


# -- the FTP account


def test_the_account_form() -> None:
    module = importlib.import_module("connectors.appmixer.utils.ftp.auth")
    assert module.type == "apiKey"
    assert set(module.auth) == {"host", "port", "username", "password", "privatekey", "secure"}
    assert all({"type", "name", "tooltip"} <= set(field) for field in module.auth.values())
    assert [o["value"] for o in module.auth["secure"]["options"]] == ["no", "yes", "implicit", "sftp"]
    assert (ROOT / "appmixer/utils/ftp/auth.py").exists()
