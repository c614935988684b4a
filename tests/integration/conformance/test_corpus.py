"""Every real flow of the corpus is taken, checked and compiled; what is not here is named, never a crash."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from engine.adapters.catalogue import BUILT_IN, Catalogue
from engine.compiler import check, compile_flow
from engine.errors import BadRequest
from engine.model.flow import read_descriptor
from engine.values.registry import builtin_registry
from tests.integration.conformance.conftest import Rig
from tests.needs import corpus

GONE = {
    "google/gmail/test-flow-get-attachments.json": {
        "appmixer.google.gmail.GetAttachment",
        "appmixer.google.gmail.ListEmails",
    },
    "smartsheet/test-flow-sheet.json": {"appmixer.smartsheet.core.AddRowsToSheet"},
}
"""Component types that flows name and nobody has (corpus/README.md)."""

CODE = "from engine.sdk import Component\n\n\nclass {name}(Component):\n    pass\n"


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    """Our own components, and of everybody else's the manifests with a behaviour that does nothing."""
    root = tmp_path_factory.mktemp("corpus")
    for kind in ("manifests", "services", "modules"):
        for row in corpus(kind):
            path = root / row["path"].removeprefix("src/")
            if path.is_relative_to(root / "appmixer" / "utils"):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(orjson.dumps(row["json"]))
            if kind == "manifests":
                (path.parent / "component.py").write_text(CODE.format(name=path.parent.name))
    return Catalogue(BUILT_IN, root)


def unknown_types(flow: dict[str, Any], find: Callable[[str], object]) -> set[str]:
    return {step["type"] for step in flow.values() if find(step["type"]) is None}


def test_every_flow_is_imported_unchanged_and_says_what_it_lacks(rig: Rig, corpus_flows: dict[str, Any]) -> None:
    assert len(corpus_flows) == 35
    for path, record in corpus_flows.items():
        flow_id = rig.call("POST", "/flows", record)["flowId"]
        stored = rig.call("GET", f"/flows/{flow_id}")
        assert stored["name"] == record["name"], path
        without_stamps = {cid: {**step, **_version(record["flow"][cid])} for cid, step in stored["flow"].items()}
        assert without_stamps == {cid: {**step, **_version(step)} for cid, step in record["flow"].items()}, path
        errors = rig.call("GET", f"/flows/{flow_id}/validate")["errors"]
        unknown = unknown_types(record["flow"], rig.lab.platform.catalogue.get)
        told = [error for error in errors if error["keyword"] == "unknownComponent"]
        assert {error["message"].removeprefix("unknown component ") for error in told} == unknown, path
        assert all(error["componentId"] in record["flow"] and error["path"] for error in errors), path
        if unknown:
            headers = {"Authorization": f"Bearer {rig.token}"}
            answer = rig.client.post(f"/flows/{flow_id}/coordinator", json={"command": "start"}, headers=headers)
            assert answer.status_code == 400, path
            assert rig.call("GET", f"/flows/{flow_id}")["stage"] == "stopped", path


def _version(step: dict[str, Any]) -> dict[str, Any]:
    return {"version": step.get("version")}


def test_every_flow_compiles_where_its_components_are_known(catalogue: Catalogue, corpus_flows: dict[str, Any]) -> None:
    for path, record in corpus_flows.items():
        descriptor = read_descriptor(record["flow"])
        unknown = unknown_types(record["flow"], catalogue.get)
        assert unknown == GONE.get(path, set()), path
        problems = check(descriptor, catalogue.get, dict.fromkeys(descriptor.steps, "an account"))
        links = [p.message for p in problems if p.keyword not in ("unknownComponent", "invalid")]
        assert links == [], path
        if unknown:
            with pytest.raises(BadRequest, match="unknown component"):
                compile_flow(descriptor, catalogue.get, builtin_registry())
            continue
        plan = compile_flow(descriptor, catalogue.get, builtin_registry())
        assert set(plan.steps) == set(record["flow"]), path


def test_every_flow_can_be_cloned_and_means_the_same(rig: Rig, corpus_flows: dict[str, Any]) -> None:
    for path, record in corpus_flows.items():
        flow_id = rig.call("POST", "/flows", record)["flowId"]
        clone = rig.call("GET", "/flows/" + rig.call("POST", f"/flows/{flow_id}/clone", {})["cloneId"])
        ids = clone["componentIdMap"]
        text = orjson.dumps(clone["flow"]).decode()
        for old, new in ids.items():
            text = text.replace(new, old)
        assert orjson.loads(text) == rig.call("GET", f"/flows/{flow_id}")["flow"], path


def test_manifests_of_the_corpus_are_all_ok(catalogue: Catalogue) -> None:
    names = {row["json"]["name"] for row in corpus("manifests")}
    assert {name for name in names if catalogue.get(name) is None and not name.startswith("appmixer.utils.")} == set()
