"""What was being executed when the process died runs first and alone; the third death of its own ends it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from engine.services import suspects
from tests.integration.engine.conftest import Lab, until

Make = Callable[..., dict[str, Any]]

WATCHED = """
blocked = set()
life = [0]
started, ended, together = [], [], []
running = set()

def receive(self, context):
    n, life = context.messages["in"].content["n"], self.life[0]
    self.started.append(n)
    while n in self.blocked or "all" in self.blocked:
        time.sleep(0.005)
        if life != self.life[0]:
            break
    if life != self.life[0]:
        raise SystemExit  # a thread of a process that is dead
    self.running.add(n)
    self.together.append(len(self.running))
    time.sleep(0.02)
    self.running.discard(n)
    self.ended.append(n)
    context.send({"n": n}, "out")
"""


class Watched:
    """A flow whose second step can be blocked, and dies with the process as kill -9 leaves it."""

    def __init__(self, lab: Lab, make: Make) -> None:
        self.lab = lab
        lab.component("Watched", WATCHED)
        lab.open()
        self.flow = lab.flow({"hook": make("Hook"), "step": make("Watched", ("hook", "out"))})
        behaviour: Any = lab.platform.catalogue.require("test.lab.core.Watched").behaviour
        self.step = behaviour

    def send(self, *numbers: int) -> None:
        for n in numbers:
            self.lab.post(self.flow, "hook", {"n": n}, enqueue_only=True)

    def die_and_come_back(self, *blocked: int | str, in_order: bool = False) -> None:
        """Afterwards only `blocked` are blocked."""
        file = self.lab.folder / "data" / "running"
        left = file.read_bytes()
        self.lab.workers.stop(0)
        self.lab.platform.close()
        self.lab.is_open = False
        if not in_order:
            with file.open("r+b") as opened:
                opened.write(left)
        self.step.life[0] += 1
        self.step.blocked.clear()
        self.step.blocked.update(blocked)
        self.step.started.clear()
        self.lab.open()

    def docs(self) -> list[tuple[int, int]]:
        return sorted((d["found"], d["deaths"]) for d in self.lab.platform.documents.find("suspects"))


@pytest.fixture
def watched(lab: Lab, make: Make) -> Watched:
    return Watched(lab, make)


def test_what_ran_when_the_process_died_runs_first_and_alone(watched: Watched) -> None:
    watched.step.blocked.add("all")
    watched.send(*range(10))
    ran = list(until(lambda: len(watched.step.started) == 4 and watched.step.started, "half of the pool at work"))
    watched.die_and_come_back(ran[0])
    assert watched.docs() == [(1, 0)] * 4
    until(lambda: watched.step.started, "the first suspect")
    watched.step.blocked.clear()
    until(lambda: len(watched.step.ended) == 10, "all of the messages")
    assert sorted(watched.step.ended[:4]) == sorted(ran)
    assert watched.step.together[:4] == [1, 1, 1, 1]
    assert sorted(watched.step.ended) == list(range(10))
    watched.lab.idle()
    assert watched.lab.platform.documents.count("unprocessed") == 0


def test_the_third_death_of_its_own_makes_a_message_unprocessed(watched: Watched) -> None:
    watched.step.blocked.add(7)
    watched.send(7)
    for deaths in (1, 2):
        until(lambda: watched.step.started == [7], "the message at work")
        watched.die_and_come_back(7)
        assert watched.docs() == [(deaths, deaths)]
    until(lambda: watched.step.started == [7], "the message at work")
    watched.die_and_come_back()
    watched.send(8)
    [kept] = watched.lab.unprocessed(watched.flow)
    assert "killed its process 3 times" in kept["err"]
    until(lambda: watched.step.ended == [8], "the innocent message")
    assert watched.step.started == [8]
    [logged] = watched.lab.errors(watched.flow, "hook")  # the delivery began there
    assert "killed its process 3 times" in logged["msg"]


def test_a_death_in_company_is_nobodys_own(watched: Watched) -> None:
    watched.step.blocked.add("all")
    watched.send(1, 2)
    for _ in range(5):
        until(lambda: len(watched.step.started) >= 1, "the first message at work")
        watched.lab.platform.claims.begin("another")
        watched.die_and_come_back("all")
    assert all(deaths == 0 for _, deaths in watched.docs())
    watched.step.blocked.clear()
    until(lambda: sorted(set(watched.step.ended)) == [1, 2], "both messages")
    assert watched.lab.platform.documents.count("unprocessed") == 0


def test_a_slow_suspect_does_not_hold_up_the_rest(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspects, "ALONE_SECONDS", 0.05)
    watched.step.blocked.add(1)
    watched.send(1)
    until(lambda: watched.step.started == [1], "the slow message at work")
    watched.send(2, 3)
    until(lambda: sorted(watched.step.ended) == [2, 3], "the others")
    watched.die_and_come_back(1)
    watched.send(4)
    until(lambda: 4 in watched.step.ended, "a message that came later")
    assert 1 in watched.step.started
    assert 1 not in watched.step.ended
    watched.step.blocked.clear()
    until(lambda: 1 in watched.step.ended, "the slow message")


def test_an_end_in_order_suspects_nobody(watched: Watched) -> None:
    watched.step.blocked.add("all")
    watched.send(1, 2)
    until(lambda: len(watched.step.started) == 2, "both at work")
    watched.die_and_come_back("all", in_order=True)
    assert watched.docs() == []
    until(lambda: len(watched.step.started) == 2, "both at work again, together")
    watched.step.blocked.clear()
    until(lambda: len(watched.step.ended) == 2, "both messages")


def test_what_was_not_seen_for_a_day_is_forgotten(watched: Watched) -> None:
    watched.lab.platform.documents.put("suspects", {"_id": "old", "found": 2, "deaths": 2, "created": 1})
    watched.die_and_come_back()
    assert watched.docs() == []
