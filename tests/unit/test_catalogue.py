"""Connectors on disk: what cannot be used is told and left out, the rest works."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.adapters.catalogue import Catalogue, read_all
from engine.errors import BadRequest, NotFound

GOOD = '{"name": "acme.shop.core.Buy", "outPorts": ["out"]}'


def write(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_what_cannot_be_read_is_named_and_the_rest_is_loaded(tmp_path: Path) -> None:
    write(tmp_path, "acme/shop/core/Buy/component.json", "\ufeff" + GOOD)
    write(tmp_path, "acme/shop/core/Half/component.json", "{")
    write(tmp_path, "acme/shop/core/Nameless/component.json", "{}")
    write(tmp_path, "acme/shop/service.json", "[]")
    (tmp_path / "acme/shop/core/Folder/component.json").mkdir(parents=True)
    (tmp_path / "acme/shop/core/Gone").mkdir()
    (tmp_path / "acme/shop/core/Gone/component.json").symlink_to(tmp_path / "nowhere")
    found = {path.parent.name: error for path, _, error in read_all(tmp_path)}
    assert {name for name, error in found.items() if error is None} == {"Buy"}
    assert all(error.details for error in found.values() if error is not None)
    catalogue = Catalogue(tmp_path)
    assert [manifest.name for manifest in catalogue.manifests()] == ["acme.shop.core.Buy"]


def test_a_component_is_found_by_its_name_and_by_its_folder(tmp_path: Path) -> None:
    write(tmp_path, "acme/Shop/buying/Buy/component.json", GOOD)
    catalogue = Catalogue(tmp_path)
    for name in ("acme.shop.core.Buy", "acme.Shop.buying.Buy", "acme/Shop/buying/Buy"):
        assert catalogue.require(name).manifest.name == "acme.shop.core.Buy"
    with pytest.raises(NotFound, match=r"no component 'acme\.shop\.core\.Sell'"):
        catalogue.require("acme.shop.core.Sell")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (None, "component.py is missing in acme/shop/core/Buy"),
        ("class Other:\n    pass\n", r"no class Buy\(Component\)"),
        ("class Buy:\n    pass\n", r"no class Buy\(Component\)"),
        ("class Buy(:\n", r"Buy/component\.py cannot be loaded: SyntaxError"),
        ("import nothing_of_that_name\n", r"Buy/component\.py cannot be loaded: ModuleNotFoundError"),
        ("raise SystemExit(1)\n", r"Buy/component\.py cannot be loaded: SystemExit"),
    ],
)
def test_a_component_without_usable_code_says_what_is_missing(tmp_path: Path, code: str | None, told: str) -> None:
    write(tmp_path, "acme/shop/core/Buy/component.json", GOOD)
    if code is not None:
        write(tmp_path, "acme/shop/core/Buy/component.py", code)
    with pytest.raises(BadRequest, match=told):
        _ = Catalogue(tmp_path).require("acme.shop.core.Buy").behaviour


def test_transforms_stay_below_the_folder_of_connectors(tmp_path: Path) -> None:
    write(tmp_path, "outside.py", "def options(value):\n    return value\n")
    root = tmp_path / "connectors"
    write(root, "acme/shop/core/Buy/component.json", GOOD)
    write(root, "acme/shop/core/transformers.py", "def options(value):\n    return [value]\n")
    catalogue = Catalogue(root)
    component = catalogue.require("acme.shop.core.Buy")
    assert catalogue.transform(component, "../transformers#options")(1) == [1]
    for reference in ("../../../../outside#options", "../transformers#missing", "/outside#options", "", "#"):
        with pytest.raises(NotFound):
            catalogue.transform(component, reference)
