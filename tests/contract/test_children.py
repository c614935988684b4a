"""Contract of ports.Children: work gets an answer or an error in time, and harms nobody."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.adapters.children import ProcessChildren
from engine.errors import HeadraceError, StepError, Unavailable
from engine.ports import Children
from tests.contract import heavy_work as work

LIMIT = 20.0
ROOT = Path(__file__).parents[2]


def until(check: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(0.01)
    raise AssertionError(f"{what} did not come about within {LIMIT:g} s")


@pytest.fixture
def children() -> Iterator[Children]:
    made = ProcessChildren(2)
    yield made
    made.close()
    assert of_this_process() == []


def of_this_process() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # it ends while we look
            if "engine.child" in process.cmdline():
                found.append(process)
    return found


def ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def run(children: Children, function: Callable[[Any], Any], payload: Any = None, **limits: Any) -> Any:
    return children.run(function, payload, **{"seconds": LIMIT, "megabytes": 100, **limits})


@pytest.mark.parametrize("payload", [21, "ab", [1, None], b"\x00\xff", b"", {"a": [1.5, True]}, None])
def test_json_and_bytes_go_in_and_come_out(children: Children, payload: Any) -> None:
    assert run(children, work.same, payload) == payload


def test_large_payloads_pass(children: Children) -> None:
    payload = os.urandom(8 * 1024 * 1024)
    assert run(children, work.double, payload) == payload * 2


def test_a_process_is_used_again(children: Children) -> None:
    assert len({run(children, work.who)["pid"] for _ in range(3)}) == 1


def test_a_process_is_small_and_sees_nothing_of_our_environment(
    children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_SECRET", "do not tell")
    seen = run(children, work.who)
    assert seen["kilobytes"] < 40 * 1024
    assert "HEADRACE_SECRET" not in seen["environment"]
    assert "HOME" not in seen["environment"]


def test_a_process_uses_all_cores_though_we_keep_to_one(children: Children) -> None:
    before = os.sched_getaffinity(0)
    answers: list[int] = []

    def in_a_thread_of_one_core() -> None:
        os.sched_setaffinity(0, {min(before)})  # of this thread, and of the keeper it starts
        answers.append(run(children, work.who)["cores"])

    thread = threading.Thread(target=in_a_thread_of_one_core)
    thread.start()
    thread.join(LIMIT)
    assert answers == [len(before)]


def test_not_more_than_the_pool_run_at_a_time(children: Children) -> None:
    with ThreadPoolExecutor(6) as pool:
        pids = list(pool.map(lambda _: run(children, work.sleep, 0.05), range(6)))
    assert len(set(pids)) == 2


@pytest.mark.parametrize(("function", "payload"), [(work.sleep, 60), (work.spin, None)])
def test_work_over_its_time_is_killed(children: Children, function: Callable[[Any], Any], payload: Any) -> None:
    before = run(children, work.who)["pid"]
    began = time.monotonic()
    with pytest.raises(StepError, match=r"longer than 0\.2 seconds") as caught:
        run(children, function, payload, seconds=0.2)
    assert time.monotonic() - began < LIMIT
    assert (caught.value.code, caught.value.retry_hint) == ("CHILD_TIMEOUT", False)
    assert not psutil.pid_exists(before)
    assert run(children, work.double, 2) == 4


def test_waiting_for_a_process_does_not_count(children: Children) -> None:
    run(children, work.who)
    with ThreadPoolExecutor(8) as pool:
        waits = [pool.submit(run, children, work.sleep, 0.2, seconds=5.0) for _ in range(8)]
        assert all(wait.result(LIMIT) for wait in waits)


def test_work_over_its_memory_fails_and_the_next_works(children: Children) -> None:
    assert run(children, work.allocate, 60) == 60 * 1024 * 1024
    with pytest.raises(StepError, match="more than 100 MB") as caught:
        run(children, work.allocate, 150)
    assert (caught.value.code, caught.value.retry_hint) == ("CHILD_MEMORY", False)
    assert run(children, work.allocate, 150, megabytes=200) == 150 * 1024 * 1024
    assert run(children, work.double, 2) == 4


@pytest.mark.parametrize(
    ("function", "payload", "how", "retry"),
    [
        (work.exit_with, 1, "exit code 1", False),
        (work.exit_in_order, None, "exit code 0", False),
        (work.crash, None, "SIGSEGV", False),
        (work.killed, None, "killed from outside", True),
    ],
)
def test_work_that_ends_its_process_is_an_error(
    children: Children, function: Callable[[Any], Any], payload: Any, how: str, retry: bool
) -> None:
    with pytest.raises(StepError, match=how) as caught:
        run(children, function, payload)
    assert (caught.value.code, caught.value.retry_hint) == ("CHILD_DIED", retry)
    assert run(children, work.double, 2) == 4


def test_errors_of_the_engine_pass_through(children: Children) -> None:
    described = {"message": "the sheet is locked", "code": "LOCKED", "retryable": True}
    with pytest.raises(StepError, match="the sheet is locked") as caught:
        run(children, work.raise_step_error, described)
    assert (caught.value.code, caught.value.retry_hint, caught.value.details) == ("LOCKED", True, [{"row": 3}])
    with pytest.raises(StepError, match="no such page") as caught:
        run(children, work.raise_not_found)
    assert (caught.value.code, caught.value.retry_hint) == ("NOT_FOUND", False)


def test_other_errors_are_named(children: Children) -> None:
    with pytest.raises(StepError, match="raise_value_error failed: ValueError: line 7 is wrong") as caught:
        run(children, work.raise_value_error)
    assert (caught.value.code, caught.value.retry_hint) == ("ValueError", False)


def test_what_is_printed_is_no_answer(children: Children, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(children, work.chatter, "hello") == "hello"
    children.close()
    assert capfd.readouterr().out == ""


def test_only_bytes_and_json_pass(children: Children) -> None:
    with pytest.raises(StepError, match="neither bytes nor JSON"):
        run(children, work.double, object())
    with pytest.raises(StepError, match="not_json failed: TypeError"):
        run(children, work.not_json)


def test_a_function_inside_another_cannot_be_found(children: Children) -> None:
    def inner(payload: Any) -> Any:
        return payload

    with pytest.raises(TypeError, match="at the top of a module"):
        run(children, inner)
    with pytest.raises(TypeError, match="at the top of a module"):
        run(children, lambda payload: payload)


def test_a_result_that_is_too_large_says_what_to_do(children: Children, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.adapters.children.LARGEST", 1000)
    with pytest.raises(StepError, match="leave large results in a file") as caught:
        run(children, work.double, "x" * 600)
    assert caught.value.code == "CHILD_RESULT"


def test_a_process_that_died_at_rest_is_replaced(children: Children) -> None:
    pid = run(children, work.who)["pid"]
    psutil.Process(pid).kill()
    until(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, "the death of the child")
    assert run(children, work.double, 2) == 4
    assert not psutil.pid_exists(pid)


def test_a_process_that_holds_much_is_not_kept(children: Children, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.adapters.children.KEPT_BYTES", 1)
    assert run(children, work.double, 2) == 4
    assert of_this_process() == []


def test_idle_processes_end() -> None:
    children = ProcessChildren(2, idle_seconds=0.05)
    try:
        run(children, work.who)
        until(lambda: not of_this_process(), "the end of the idle child")
        assert run(children, work.double, 2) == 4
    finally:
        children.close()


def test_nothing_is_started_before_it_is_needed(children: Children) -> None:
    assert of_this_process() == []


def test_a_process_outlives_the_thread_that_asked_for_it(children: Children) -> None:
    pids: list[int] = []
    thread = threading.Thread(target=lambda: pids.append(run(children, work.who)["pid"]))
    thread.start()
    thread.join(LIMIT)
    assert run(children, work.who)["pid"] == pids[0]


def test_closing_ends_what_runs_and_what_waits(children: Children, tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(run, children, work.tell_and_sleep, str(tmp_path / str(n)), seconds=60) for n in range(3)]
        until(lambda: len([p for p in tmp_path.iterdir() if not p.suffix]) == 2, "two pieces of work")
        children.close()
        for call in calls:
            with pytest.raises(Unavailable, match="stopping"):
                call.result(LIMIT)
    with pytest.raises(Unavailable, match="stopping"):
        run(children, work.double, 2)


def test_what_the_work_started_is_killed_with_it(children: Children, tmp_path: Path) -> None:
    told = tmp_path / "helper"
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(run, children, work.tell_family_and_sleep, str(told), seconds=60)
        helper = psutil.Process(int(until(lambda: told.exists() and told.read_text(), "the helper's id")))
        children.close()
        with pytest.raises(HeadraceError):
            call.result(LIMIT)
    until(lambda: ended(helper), "the end of the helper")


def test_no_child_outlives_its_parent(tmp_path: Path) -> None:
    """The parent is killed while one child works and another rests."""
    program = f"""
    import threading
    from engine.adapters.children import ProcessChildren
    from tests.contract import heavy_work as work
    children = ProcessChildren(2)
    busy = threading.Thread(target=lambda: children.run(
        work.tell_and_sleep, {str(tmp_path / "busy")!r}, seconds=60, megabytes=100), daemon=True)
    busy.start()
    print(children.run(work.who, None, seconds=60, megabytes=100)["pid"], flush=True)
    busy.join()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        resting = int(parent.stdout.readline())
        busy = int(until(lambda: (tmp_path / "busy").exists() and (tmp_path / "busy").read_text(), "the busy child"))
        alive = [psutil.Process(pid) for pid in {resting, busy}]
        assert len(alive) == 2
        parent.kill()
    until(lambda: all(ended(child) for child in alive), "the end of the children")
