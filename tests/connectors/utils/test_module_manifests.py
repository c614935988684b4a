"""Manifests, classes, icons, references, accounts and quotas of the modules storage, files, csv, http and ftp."""

from __future__ import annotations

import base64
import gzip
import importlib
from typing import Any
from xml.etree import ElementTree

import jsonschema_rs
import orjson
import pytest

from connectors.appmixer.utils.http.hook_form import FORM
from engine.sdk import Component, Quota
from tests.connectors.recorder import ROOT, behaviour, manifest, transform
from tests.connectors.utils.test_manifests import CORPUS, UTILS, shape, sources

COUNTS = {"storage": 15, "files": 6, "csv": 15, "http": 10, "ftp": 9}
TYPES = sorted(
    f"appmixer.utils.{m}.{path.parent.name}" for m in COUNTS for path in (UTILS / m).glob("*/component.json")
)
EXTERNAL = {
    *(f"appmixer.utils.http.{name}" for name in ("Get", "Post", "Put", "Patch", "Delete", "Uptime")),
    *(t for t in TYPES if t.startswith("appmixer.utils.ftp.")),
    "appmixer.utils.files.DownloadFile",
}
PURE = {
    *(f"appmixer.utils.http.{name}" for name in ("WebhookTrigger", "Webhook", "DynamicWebhook", "Response")),
    "appmixer.utils.csv.CreateInspector",
}
QUOTAS = {"files": {"SaveFile", "DownloadFile", "ArchiveFile"}, "csv": {"AddRow", "AddRows"}}


def test_all_of_the_reference_are_here() -> None:
    assert {m: sum(t.split(".")[2] == m for t in TYPES) for m in COUNTS} == COUNTS


@pytest.mark.parametrize("type", TYPES)
def test_name_class_and_effects(type: str) -> None:
    assert manifest(type).name == type
    component = behaviour(type)
    assert isinstance(component, Component)
    assert component.effects == ("external" if type in EXTERNAL else "none" if type in PURE else "state")


@pytest.mark.parametrize("path", sorted(str(p.relative_to(UTILS)) for m in COUNTS for p in (UTILS / m).rglob("*.json")))
def test_icons_are_small_svg_line_drawings(path: str) -> None:
    raw = orjson.loads((UTILS / path).read_bytes())
    head, _, data = raw["icon"].partition(",")
    assert head == "data:image/svg+xml;base64"
    assert ElementTree.fromstring(base64.b64decode(data)).get("viewBox") == "0 0 24 24"
    assert len(data) < 1000


@pytest.mark.parametrize("type", TYPES)
def test_schemas_compile_and_every_input_has_a_label_and_a_place(type: str) -> None:
    found = manifest(type)
    schemas = [found.properties_schema, *(p.schema for p in found.in_ports)]
    for schema in schemas:
        if schema is not None:
            jsonschema_rs.Draft7Validator(dict(schema))
    inspectors = [(found.raw.get("properties") or {}).get("inspector"), *(p.inspector for p in found.in_ports)]
    for inspector in filter(None, inspectors):
        typed = [field for field in inspector["inputs"].values() if "type" in field]
        assert all(field["label"] and field["tooltip"] for field in typed)
        assert [field["index"] for field in typed] == list(range(1, len(typed) + 1))


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
    assert (found.quota_manager is not None) is (name in QUOTAS.get(module, ()))
    if found.quota_manager is not None:
        assert found.quota_manager == f"appmixer:utils:{module}"
        assert found.quota_max_wait == 120_000
        rules: list[Quota] = importlib.import_module(f"connectors.appmixer.utils.{module}.quota").rules
        [rule] = [rule for rule in rules if rule.resource in found.quota_resources]
        assert (rule.limit, rule.throttling, rule.queueing) == (80, "limit-concurrency", "fifo")


def real_manifests() -> dict[str, Any]:
    with gzip.open(CORPUS, "rt", encoding="utf-8") as lines:
        return {row["json"]["name"]: row["json"] for row in map(orjson.loads, lines)}


@pytest.mark.skipif(not CORPUS.exists(), reason="the corpus of real manifests is not beside the project")
@pytest.mark.parametrize("type", TYPES)
def test_names_are_those_of_the_original(type: str) -> None:
    real, ours = shape(real_manifests()[type]), shape(dict(manifest(type).raw))
    if manifest(type).webhook_settings:  # the original has none
        ours["properties"] -= set(FORM)
    outs = real.pop("out"), ours.pop("out")
    assert ours == real
    assert list(outs[1]) == list(outs[0])
    if not type.endswith(".ListStores"):  # there the original has label and value the wrong way round
        assert all(outs[1][port] >= outs[0][port] for port in outs[0])


@pytest.mark.skipif(not CORPUS.exists(), reason="the corpus of real manifests is not beside the project")
@pytest.mark.parametrize("type", TYPES)
def test_no_words_are_those_of_the_original(type: str) -> None:
    """Names are facts; sentences are ours."""

    def sentences(node: Any) -> set[str]:
        if isinstance(node, dict):
            kept = {v for k, v in node.items() if k in ("description", "tooltip") and isinstance(v, str)}
            return kept.union(*map(sentences, node.values()))
        return set().union(*map(sentences, node)) if isinstance(node, list) else set()

    assert not sentences(dict(manifest(type).raw)) & sentences(real_manifests()[type])


# -- the FTP account


def test_the_account_form() -> None:
    module = importlib.import_module("connectors.appmixer.utils.ftp.auth")
    assert module.type == "apiKey"
    assert set(module.auth) == {"host", "port", "username", "password", "privatekey", "secure"}
    assert all({"type", "name", "tooltip"} <= set(field) for field in module.auth.values())
    assert [o["value"] for o in module.auth["secure"]["options"]] == ["no", "yes", "implicit", "sftp"]
    assert (ROOT / "appmixer/utils/ftp/auth.py").exists()
