"""Proves the import rules of design.md §2 and the size limits from the syntax trees."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("engine", "workers", "webapp", "cli", "connectors", "deploy")

# What a part of the engine may import of the engine, most specific prefix first.
LAYERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("engine.errors", ()),
    ("engine.settings", ("engine.errors", "engine.rules")),
    ("engine.json_log", ("engine.model", "engine.rules")),
    ("engine.child", ("engine.errors",)),
    ("engine.model", ("engine.errors", "engine.model")),
    ("engine.values", ("engine.errors", "engine.model", "engine.values")),
    ("engine.rules", ("engine.errors", "engine.model", "engine.rules")),
    ("engine.ports", ("engine.errors", "engine.model", "engine.ports")),
    ("engine.sdk", ("engine.errors", "engine.model", "engine.ports", "engine.values")),
    (
        "engine.compiler",
        ("engine.errors", "engine.model", "engine.values", "engine.rules", "engine.ports", "engine.sdk"),
    ),
    (
        "engine.services",
        (
            "engine.errors",
            "engine.model",
            "engine.values",
            "engine.rules",
            "engine.ports",
            "engine.sdk",
            "engine.compiler",
            "engine.services",
        ),
    ),
    (
        "engine.adapters",
        (
            "engine.errors",
            "engine.child",
            "engine.model",
            "engine.values",
            "engine.ports",
            "engine.sdk",
            "engine.adapters",
        ),
    ),
    ("engine.wiring", ("engine",)),
    ("workers", ("engine", "workers")),
    ("webapp", ("engine", "webapp")),
    ("cli", ("engine", "webapp", "workers", "cli", "app")),
    ("connectors", ("engine.sdk", "connectors")),
    ("deploy", ("deploy",)),
    ("app", ("engine", "webapp", "workers")),
)

OURS = ("engine", "workers", "webapp", "cli", "connectors", "deploy", "app", "tests", "bench")

# Who may import a library; the web layer and the workers never see a driver.
LIBRARIES = {
    "sqlalchemy": ("engine.adapters",),
    "sqlalchemy_utils": ("engine.adapters",),
    "pymongo": ("engine.adapters", "deploy"),
    "pika": ("engine.adapters",),
    "redis": ("engine.adapters",),
    "elasticsearch": ("engine.adapters",),
    "urllib3": ("engine.adapters", "cli"),
    "flask": ("webapp", "app"),
    "flask_login": ("webapp",),
    "gunicorn": ("cli",),
}

MODULE_LINES = 400
FUNCTION_LINES = 50
APP_LINES = 30

LONG_FUNCTIONS = {
    "engine.wiring:build": "puts every service together, one call each; a split would hide the order",
}
ADAPTERS_ALLOWED = {
    "engine.wiring": "picks the adapters",
    "cli.connectors": "checks manifests on disk without a platform",
}


def modules() -> Iterator[tuple[str, Path, ast.Module]]:
    files = [ROOT / "app.py", *(p for name in PACKAGES for p in sorted((ROOT / name).rglob("*.py")))]
    for path in files:
        relative = path.relative_to(ROOT).with_suffix("")
        name = ".".join(relative.parts).removesuffix(".__init__")
        yield name, path, ast.parse(path.read_text())


ALL = list(modules())


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            if node.module in ("engine", "webapp", "workers", "cli"):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module


def within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == p or name.startswith(f"{p}.") for p in prefixes)


def layer(name: str) -> tuple[str, ...]:
    return next((allowed for prefix, allowed in LAYERS if within(name, (prefix,))), ())


@pytest.mark.parametrize(("name", "tree"), [(n, t) for n, _, t in ALL], ids=[n for n, _, _ in ALL])
def test_imports_run_one_way(name: str, tree: ast.Module) -> None:
    if name == "engine":
        return
    for target in imported(tree):
        if target.split(".")[0] in OURS:
            assert within(target, layer(name)), f"{name} imports {target}"
            if within(target, ("engine.adapters",)) and not within(name, ("engine.adapters",)):
                assert name in ADAPTERS_ALLOWED, f"{name} imports the adapter {target}"
        library = target.split(".")[0]
        if library in LIBRARIES:
            assert within(name, LIBRARIES[library]), f"{name} imports {library}"


def test_only_settings_read_the_environment() -> None:
    pattern = re.compile(r"os\.environ|os\.getenv|from os import (environ|getenv)")
    readers = [name for name, path, _ in ALL if pattern.search(path.read_text()) and not within(name, ("deploy",))]
    assert readers == ["engine.settings"]


@pytest.mark.parametrize(("name", "path"), [(n, p) for n, p, _ in ALL], ids=[n for n, _, _ in ALL])
def test_modules_are_small(name: str, path: Path) -> None:
    limit = APP_LINES if name == "app" else MODULE_LINES
    assert len(path.read_text().splitlines()) <= limit


@pytest.mark.parametrize(("name", "tree"), [(n, t) for n, _, t in ALL], ids=[n for n, _, _ in ALL])
def test_functions_are_small(name: str, tree: ast.Module) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and f"{name}:{node.name}" not in LONG_FUNCTIONS:
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= FUNCTION_LINES, f"{name}: {node.name} has {lines} lines"


def test_every_exception_is_still_needed() -> None:
    names = {n for n, _, _ in ALL}
    assert {key.split(":")[0] for key in LONG_FUNCTIONS} <= names
    assert set(ADAPTERS_ALLOWED) <= names


def test_javascript_and_templates_are_small() -> None:
    files = [
        p for folder in ("static", "templates") for p in (ROOT / folder).rglob("*") if p.suffix in (".js", ".html")
    ]
    long = [
        str(p.relative_to(ROOT)) for p in files if "vendor" not in p.parts and len(p.read_text().splitlines()) > 400
    ]
    assert long == []
