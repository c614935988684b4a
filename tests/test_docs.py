"""The pages under docs/ say what is true: settings, links, code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.services.health import Metrics
from engine.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
IDS = [str(p.relative_to(ROOT)) for p in PAGES]

EXPECTED = {
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/quickstart.md", "docs/architecture.md",
    "docs/connectors.md", "docs/settings.md", "docs/operating.md", "docs/api.md", "docs/webhooks.md",
}  # fmt: skip

_ROW = re.compile(r"^\| `(\w+)` \| (\S+) \| .+ \|$", re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^(?:<!-- (\S+) -->\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def shown(default: Any) -> str:
    """A default as docs/settings.md writes it."""
    if default in ("", (), Path()):
        return "–"
    if isinstance(default, tuple):
        return f"`{','.join(default)}`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def outside_code(text: str) -> str:
    return _FENCE.sub("", text)


def blocks(language: str) -> Iterator[Any]:
    """(page, file named above the block, code)"""
    for page in PAGES:
        for file, found, code in _FENCE.findall(page.read_text()):
            if found == language:
                yield pytest.param(page, file, code, id=f"{page.name}:{code[:30]!r}")


def test_every_page_is_there() -> None:
    assert set(IDS) >= EXPECTED


def test_settings_are_those_of_the_dataclass() -> None:
    rows = _ROW.findall((ROOT / "docs" / "settings.md").read_text())
    assert dict(rows) == {PREFIX + f.name.upper(): shown(f.default) for f in fields(Settings)}
    assert len(rows) == len(fields(Settings))


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_settings_named_anywhere_exist(page: Path) -> None:
    known = {PREFIX + f.name.upper() for f in fields(Settings)}
    named = set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", page.read_text()))
    assert {name.removesuffix("_FILE") for name in named} - {f"{PREFIX}X"} <= known


def test_figures_are_those_of_metrics() -> None:
    """Counters and histograms of the registry, and the gauges that wiring adds."""
    listed = set(re.findall(r"^\| `(headrace_\w+)", (ROOT / "docs" / "operating.md").read_text(), re.MULTILINE))
    gauges = set(re.findall(r'gauge\(\s*"(headrace_\w+)"', (ROOT / "engine" / "wiring.py").read_text()))
    made = {f"{m.name}_total" if m.type == "counter" else m.name for m in Metrics().registry.collect()}
    assert listed == made | gauges


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(outside_code(page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), f"{link} leads out of the project"
        assert target.exists(), f"{link} leads nowhere"
        if anchor:
            headings = _HEADING.findall(outside_code(target.read_text()))
            assert anchor in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}, link


@pytest.mark.parametrize(("page", "file", "code"), list(blocks("python")))
def test_python_in_the_docs_is_python(page: Path, file: str, code: str) -> None:
    """A block under a comment that names a file is a part of that file, word for word."""
    ast.parse(code)
    if file:
        assert code in (ROOT / file).read_text(), f"{page.name} shows something else than {file}"


@pytest.mark.parametrize(("page", "file", "code"), list(blocks("json")))
def test_json_in_the_docs_is_json(page: Path, file: str, code: str) -> None:
    assert orjson.loads(code) is not None
