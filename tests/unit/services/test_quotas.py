"""Who gets a slot, how long a place in the queue is kept, and for how long a message waits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from engine.adapters.embedded.cache import MemoryCache
from engine.compiler import Step
from engine.errors import StepError
from engine.model.message import Message
from engine.sdk import Quota
from engine.services.plans import RunningFlow
from engine.services.quotas import QUOTA_UNTIL, WAITING_SECONDS, QuotaBusy, Quotas

LONGEST_CALL = 1000.0


@dataclass
class Manifest:
    quota_manager: str | None = "acme:shop"
    quota_scope: dict[str, str] = field(default_factory=dict)
    quota_max_wait: int | None = None


@dataclass
class OneStep:
    manifest: Manifest = field(default_factory=Manifest)
    label: str = "Charge"


@dataclass
class Flow:
    user_id: str = "ann"


class World:
    def __init__(self, *rules: Any) -> None:
        self.seconds = 0.0
        self.cache = MemoryCache(now=lambda: self.seconds)
        self.rules = rules or (Quota(limit=1),)
        self.step = OneStep()
        self.quotas = Quotas(self.cache, lambda _: self.rules, LONGEST_CALL)

    def ask(self, name: str, **extra: Any) -> Any:
        """The slots, or None when it has to wait."""
        message = Message(name, "f", 1, 1, "c", name, "in", None, {}, 0, extra=extra)
        step, flow = cast(Step, self.step), cast(RunningFlow, Flow())
        try:
            return self.quotas.acquire(step, message, flow, round(self.seconds * 1000))
        except QuotaBusy as busy:
            self.until = busy.until
            return None


def test_first_in_first_out() -> None:
    world = World()
    held = world.ask("a")
    assert held
    assert world.ask("b") is None
    assert world.ask("c") is None
    world.quotas.release(held)
    assert world.ask("c") is None
    assert world.ask("b")


def test_a_place_is_kept_as_long_as_the_message_comes_back_and_no_longer() -> None:
    world = World()
    held = world.ask("a")
    for _ in range(20):  # much longer in all than one place lasts
        assert world.ask("b") is None
        assert world.ask("c") is None
        world.seconds += WAITING_SECONDS * 0.9
    world.quotas.release(held)
    world.seconds += WAITING_SECONDS * 0.2  # b never comes back: its flow was stopped
    assert world.ask("c")


def test_a_slot_is_held_for_as_long_as_a_call_may_take() -> None:
    world = World()
    assert world.ask("a")
    world.seconds += LONGEST_CALL - 1
    assert world.ask("b") is None
    world.seconds += 2  # the process that held it died
    assert world.ask("b")


def test_a_message_waits_no_longer_than_its_manifest_says() -> None:
    world = World()
    world.step.manifest.quota_max_wait = 5000
    assert world.ask("a")
    assert world.ask("b") is None
    assert world.until == 5000
    world.seconds = 5
    assert world.ask("b", **{QUOTA_UNTIL: 5000}) is None
    world.seconds = 5.1
    with pytest.raises(StepError, match=r"Charge.*5 seconds.*acme:shop") as failed:
        world.ask("b", **{QUOTA_UNTIL: 5000})
    assert (failed.value.code, failed.value.retry_hint) == ("QUOTA_MAX_WAIT", True)
    assert world.ask("c") is None  # b has left the queue: a is before c, nobody else
    world.quotas.release((("quota:acme:shop:*:0:", "a.0"),))
    assert world.ask("c")


def test_without_a_word_on_it_a_message_waits_for_ever() -> None:
    world = World()
    assert world.ask("a")
    assert world.ask("b") is None
    assert world.until is None


def test_a_slot_that_comes_late_is_taken() -> None:
    world = World()
    world.step.manifest.quota_max_wait = 5000
    held = world.ask("a")
    assert world.ask("b") is None
    world.quotas.release(held)
    world.seconds = 6
    assert world.ask("b", **{QUOTA_UNTIL: 5000})


def test_what_was_got_of_several_rules_is_given_back() -> None:
    world = World(Quota(limit=5, resource="a"), Quota(limit=1, resource="b"))
    assert len(world.ask("a")) == 2
    for n in range(10):
        assert world.ask(f"b{n}") is None
        world.seconds += WAITING_SECONDS * 2
    world.seconds += LONGEST_CALL
    assert world.ask("c")


@pytest.mark.parametrize("rules", [(7,), (Quota(limit=cast(int, "many")),), (Quota(limit=cast(int, None)),)])
def test_rules_that_do_not_work_say_whose_they_are(rules: tuple[Any, ...]) -> None:
    with pytest.raises(StepError, match="acme:shop") as failed:
        World(*rules).ask("a")
    assert failed.value.code == "QUOTA_RULES"
