"""Apps and components, read only (rest-api.md §4)."""

from __future__ import annotations

import pytest

from tests.integration.api.conftest import User


def test_apps_are_a_map_by_name(ann: User) -> None:
    shop = ann.get("/apps").json["acme.shop"]
    assert (shop["name"], shop["label"], shop["category"]) == ("acme.shop", "Shop", "applications")


@pytest.mark.parametrize("selector", ["acme.shop", "acme.shop.core", "acme.shop.core.Begin"])
def test_components_of_an_app_without_private_ones(ann: User, selector: str) -> None:
    manifests = ann.get(f"/apps/components?app={selector}").json
    assert [m["name"] for m in manifests] == ["acme.shop.core.Begin"]
    assert manifests[0]["version"] == "2.1.0"


def test_an_unknown_app_has_no_components(ann: User) -> None:
    assert ann.get("/apps/components?app=acme.sho").json == []


def test_component_names_or_manifests(ann: User) -> None:
    names = ann.get("/components").json
    assert "acme.shop.core.Begin" in names
    assert "acme.shop.core.Secret" not in names
    assert [m["name"] for m in ann.get("/components?manifest=yes").json] == names


@pytest.mark.parametrize("path", ["/apps", "/apps/components", "/components"])
def test_the_catalogue_is_for_users(nobody: User, path: str) -> None:
    assert nobody.get(path).status_code == 401
