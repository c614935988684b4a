"""Runs the units of the browser's modules (tests/js), which need nothing but node."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests import needs

ROOT = Path(__file__).parents[3]


def test_javascript_units() -> None:
    node = needs.program("node", "the units of static/js cannot run")
    files = sorted(str(path) for path in (ROOT / "tests" / "js").glob("*.test.js"))
    done = subprocess.run([node, "--test", *files], capture_output=True, text=True, timeout=100)
    assert files
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_module_has_a_twin_test_or_no_logic_of_its_own() -> None:
    """bind, copy and dialog only call the browser; the pages' tests in a browser cover them."""
    without = {"bind.js", "copy.js", "dialog.js", "main.js"}
    tests = "".join(path.read_text() for path in (ROOT / "tests" / "js").glob("*.test.js"))
    modules = {path.name for path in (ROOT / "static" / "js").glob("*.js")}
    assert {name for name in modules - without if f"static/js/{name}" not in tests} == set()
