"""What holds for every file of the project."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FORBIDDEN = {
    "a package registry": re.compile(rb"pypi[.]org|pythonhosted[.]org|npmjs[.](?:org|com)"),
    "a path of one machine": re.compile(rb"(?<![\w.$}~-])/(?:work|root|home)/[\w.-]"),
}
BINARY = {".png", ".ico", ".woff2", ".gz", ".zip"}


def tracked() -> list[Path]:
    """Files git knows or would add; those of a copy without git, all but what is made by tools."""
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
        files = [ROOT / name for name in listed.split("\0") if name]
    else:
        files = [p for p in ROOT.rglob("*") if not any(part in ("data", ".venv", "__pycache__") for part in p.parts)]
    return [p for p in files if p.is_file() and p.suffix not in BINARY]


def test_no_file_names_a_registry_or_a_path_of_this_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)} names {what}"
        for path in tracked()
        for what, pattern in FORBIDDEN.items()
        if pattern.search(path.read_bytes())
    ]
    assert found == []


def test_the_newest_changelog_entry_is_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    entry = re.search(r"^## \[(\S+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert entry is not None
    assert entry[1] == version


def test_changelog_sections_are_of_known_kinds() -> None:
    kinds = re.findall(r"^### (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert set(kinds) <= {"Added", "Changed", "Fixed"}


@pytest.mark.parametrize("path", [".ci/run", ".ci/install", ".ci/tools"])
def test_scripts_can_be_run(path: str) -> None:
    file = ROOT / path
    assert file.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(file)], check=True)


def test_dependencies_are_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    everything = [*project["dependencies"], *(d for extra in extras for d in extra)]
    loose = [d for d in everything if "==" not in d and not d.startswith("headrace[")]
    assert loose == []
