"""Contract of ports.Claims: whoever comes after a process that died learns what it was executing."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from engine.adapters.embedded import running
from engine.adapters.embedded.running import RunningFile
from engine.errors import Unavailable
from engine.model.message import new_id
from engine.ports import Claims

ROOT = Path(__file__).parents[2]


def opened(folder: Path) -> Claims:
    return RunningFile(folder / "running")


def test_nothing_is_left_at_first(tmp_path: Path) -> None:
    assert opened(tmp_path).left() == []


def test_what_was_begun_and_not_ended_is_left(tmp_path: Path) -> None:
    claims = opened(tmp_path)
    first, second, third = new_id(), new_id(), new_id()
    claims.begin(first)
    ended = claims.begin(second)
    claims.begin(third)
    claims.end(ended)
    assert sorted(opened(tmp_path).left()) == sorted([first, third])
    assert claims.left() == []  # it is about earlier processes


@pytest.mark.parametrize("end", ["os._exit(1)", "os.kill(os.getpid(), 9)", "ctypes.string_at(0)"])
def test_a_process_that_dies_leaves_what_it_executed(tmp_path: Path, end: str) -> None:
    program = f"""
    import ctypes, os
    from pathlib import Path
    from engine.adapters.embedded.running import RunningFile
    claims = RunningFile(Path({str(tmp_path / "running")!r}))
    claims.end(claims.begin("done"))
    claims.begin("one")
    claims.begin("two")
    {end}
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(program)], cwd=ROOT).returncode != 0
    assert sorted(opened(tmp_path).left()) == ["one", "two"]


def test_what_is_left_stays_until_forgotten(tmp_path: Path) -> None:
    opened(tmp_path).begin("one")
    assert opened(tmp_path).left() == ["one"]
    second = opened(tmp_path)
    second.begin("new")
    assert second.left() == ["one"]
    second.forget()
    assert second.left() == []
    assert opened(tmp_path).left() == ["new"]


def test_an_end_in_order_leaves_nothing(tmp_path: Path) -> None:
    claims = opened(tmp_path)
    hung = claims.begin("one")
    claims.close()
    later = claims.begin("late")
    claims.end(later)
    claims.end(hung)
    assert opened(tmp_path).left() == []


def test_more_than_fit_and_names_too_long_are_not_noted_but_harmless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "SLOTS", 3)
    claims = opened(tmp_path)
    for claim in [claims.begin("x" * 500), claims.begin("x" * 64)]:
        claims.end(claim)
    held = [claims.begin(f"m{n}") for n in range(5)]
    assert sorted(opened(tmp_path).left()) == ["m0", "m1", "m2"]
    for claim in held:
        claims.end(claim)
    assert opened(tmp_path).left() == []
    longest = "y" * 63
    claims.begin(longest)
    assert opened(tmp_path).left() == [longest]


def test_a_file_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "running").mkdir()
    with pytest.raises(Unavailable, match="running cannot be used"):
        opened(tmp_path)


def test_the_file_has_no_holes(tmp_path: Path) -> None:
    """A hole that cannot be filled on a full disk would kill the process that writes to it."""
    opened(tmp_path)
    assert (tmp_path / "running").stat().st_blocks * 512 >= running.SLOTS * running.SLOT
