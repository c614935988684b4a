"""What the Content-Security-Policy forbids must not be written anywhere (spec: front-end, strict CSP)."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
STATIC = ROOT / "static"
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
MODULES = sorted((STATIC / "js").glob("*.js"))

IN_TEMPLATES = {
    "inline script": r"<script(?![^>]*\bsrc=)[^>]*>",
    "inline style element": r"<style\b",
    "style attribute": r"\sstyle\s*=",
    "event handler attribute": r"\son[a-z]+\s*=",
    "hx-on": r"\bhx-on\b",
    "javascript: address": r"javascript:",
    "js: values, which need eval": r"=\s*[\"']\s*js:",
    "trigger filter, which needs eval": r"hx-trigger\s*=\s*\"[^\"]*\[",
    "address of another host": r"(?:src|href|action|hx-[a-z]+)\s*=\s*[\"'](?:https?:)?//",
}
IN_MODULES = {
    "eval": r"\beval\s*\(",
    "code from text": r"\bnew\s+Function\b|set(?:Timeout|Interval)\s*\(\s*[\"'`]",
    "document.write": r"document\.write",
    "EventSource": r"\bEventSource\b",
    "style text": r"cssText|setAttribute\(\s*[\"']style",
}


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
@pytest.mark.parametrize("what", IN_TEMPLATES)
def test_templates_hold_nothing_the_policy_forbids(path: Path, what: str) -> None:
    text = re.sub(r"\{#.*?#\}", "", path.read_text(), flags=re.DOTALL)
    assert re.search(IN_TEMPLATES[what], text, re.IGNORECASE) is None, f"{path.name}: {what}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
@pytest.mark.parametrize("what", IN_MODULES)
def test_modules_hold_nothing_the_policy_forbids(path: Path, what: str) -> None:
    assert re.search(IN_MODULES[what], path.read_text()) is None, f"{path.name}: {what}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_every_module_begins_with_its_contract(path: Path) -> None:
    assert path.read_text().startswith("/**")


def test_lists_name_only_icons_that_are_there() -> None:
    symbols = set(re.findall(r'<symbol id="([^"]+)"', (STATIC / "vendor/icons.svg").read_text()))
    used = {name for path in TEMPLATES for name in re.findall(r'icon\("([a-z0-9-]+)"', path.read_text())}
    assert used
    assert used <= symbols


def test_vendored_files_are_those_listed_and_have_their_licence() -> None:
    vendor = STATIC / "vendor"
    entries = json.loads((vendor / "vendor.json").read_text())
    present = {path.name for path in vendor.iterdir() if path.is_file()} - {"vendor.json"}
    assert {entry["file"] for entry in entries} == present
    for entry in entries:
        assert hashlib.sha256((vendor / entry["file"]).read_bytes()).hexdigest() == entry["sha256"], entry["file"]
        assert entry["version"]
        assert entry["licence"] in {"0BSD", "ISC", "MIT", "OFL-1.1", "MPL-2.0", "Apache-2.0"}
        assert (vendor / entry["licenceText"]).stat().st_size > 200
