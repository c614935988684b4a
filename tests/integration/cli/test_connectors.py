"""`headrace connectors check`: what it prints and its exit status."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from click.testing import Result

from tests.needs import corpus

ROOT = Path(__file__).parents[3]

Headrace = Callable[..., Result]


def write(folder: Path, path: str, content: Any) -> None:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))


GOOD = {
    "acme/shop/service.json": {"name": "acme.shop", "label": "Shop"},
    "acme/shop/core/module.json": {"name": "acme.shop.core", "label": "Shop"},
    "acme/shop/core/Double/component.json": {"name": "acme.shop.core.Double", "inPorts": ["in"], "outPorts": ["out"]},
}


def test_good_manifests(headrace: Headrace, tmp_path: Path) -> None:
    for path, content in GOOD.items():
        write(tmp_path, path, content)
    write(tmp_path, "acme/shop/core/Double/notes.json", "not a manifest, so not read")
    result = headrace("connectors", "check", str(tmp_path))
    assert (result.exit_code, result.output) == (0, "3 ok, 0 failed\n")


def test_bad_manifests_are_named_with_file_and_path(headrace: Headrace, tmp_path: Path) -> None:
    for path, content in GOOD.items():
        write(tmp_path, path, content)
    write(tmp_path, "acme/bad/a/One/component.json", {"name": "One", "inPorts": ["in", "in"], "outPorts": [{"n": 1}]})
    write(tmp_path, "acme/bad/a/Two/component.json", '{"name": ')
    write(tmp_path, "acme/bad/service.json", {"label": "no name"})
    write(tmp_path, "acme/bad/a/module.json", [])
    result = headrace("connectors", "check", str(tmp_path))
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[-1] == "3 ok, 4 failed"
    places = [line.partition(":")[0] for line in lines[:-1]]
    assert places == [
        "acme/bad/a/One/component.json at name",
        "acme/bad/a/One/component.json at outPorts[0]",
        "acme/bad/a/One/component.json at inPorts",
        "acme/bad/a/Two/component.json",
        "acme/bad/a/module.json at name",
        "acme/bad/service.json at name",
    ]


def test_a_folder_that_is_not_there(headrace: Headrace, tmp_path: Path) -> None:
    assert headrace("connectors", "check", str(tmp_path / "nowhere")).exit_code == 2


def test_the_built_in_connectors(headrace: Headrace) -> None:
    result = headrace("connectors", "check", str(ROOT / "connectors"))
    assert result.exit_code == 0, result.output


def test_every_manifest_of_the_corpus_is_ok(headrace: Headrace, tmp_path: Path) -> None:
    rows = corpus("manifests")
    for row in rows:
        write(tmp_path, str(PurePosixPath(row["path"]).relative_to("src")), row["json"])
    result = headrace("connectors", "check", str(tmp_path))
    assert result.output == f"{len(rows)} ok, 0 failed\n"
    assert result.exit_code == 0
