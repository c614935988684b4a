"""What happens while the Cache is away, and when notices of other processes may have been lost."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from engine.adapters.embedded.cache import MemoryCache
from engine.errors import TooManyRequests, Unavailable
from engine.model.message import Message
from engine.ports import NOTICES_LOST, Query, Where
from engine.services.outcome import Outcome, Reply
from tests.integration.engine.conftest import Lab, step, until
from webapp.limits import ALLOWED, Attempts, check_sign_ups

COMMANDS = ("get", "set", "add", "delete", "incr", "lock", "acquire_slot")


class Switch:
    """Takes the platform's cache away and brings it back, as it was or empty."""

    def __init__(self, cache: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self._cache = cache
        self._monkeypatch = monkeypatch
        self.tried: set[str] = set()

    def off(self) -> None:
        for name in COMMANDS:
            self._monkeypatch.setattr(self._cache, name, partial(self._away, name))

    def _away(self, name: str, *_: Any, **__: Any) -> Any:
        self.tried.add(name)
        raise Unavailable("Redis cannot be reached")

    def on(self) -> None:
        self._monkeypatch.undo()
        self._cache.publish(NOTICES_LOST, "")


@pytest.fixture
def switch(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Switch]:
    return lambda: Switch(lab.platform.cache, monkeypatch)


def lost(lab: Lab) -> None:
    lab.platform.cache.publish(NOTICES_LOST, "")


# -- what notices would have told


def test_a_change_of_a_flow_that_was_missed_is_seen(lab: Lab) -> None:
    lab.open()
    flows = [lab.flow({"hook": step("Hook")}) for _ in range(3)]
    plans, documents = lab.platform.plans, lab.platform.documents
    before = [plans.running(flow) for flow in flows]
    documents.update("flows", flows[0], {"stage": "stopping"})
    documents.update("flows", flows[1], {"accounts": {"a": "b"}})
    assert [plans.running(flow) for flow in flows] == before
    lost(lab)
    stopped, changed, same = (plans.running(flow) for flow in flows)
    assert stopped is None
    assert before[0] is not None
    assert not before[0].active
    assert changed is not None
    assert changed.accounts == {"a": "b"}
    assert same is before[2]


def test_modifiers_that_were_missed_are_in_force(lab: Lab) -> None:
    lab.open()
    flow = lab.flow({"hook": step("Hook")})
    modifiers, plans = lab.platform.modifiers, lab.platform.plans
    before, plan = modifiers.registry(), plans.running(flow)
    lost(lab)
    assert modifiers.registry() is before
    assert plans.running(flow) is plan
    given: dict[str, Any] = {"categories": {}, "modifiers": {}}
    lab.platform.documents.put("modifiers", {"_id": "modifiers", "set": given})
    lost(lab)
    assert modifiers.to_json() == given
    assert plans.running(flow) is not plan


def test_a_cancelled_execution_that_was_missed_is_seen(lab: Lab) -> None:
    lab.open()
    cancelled = lab.platform.executions._cancelled
    doc = {"_id": "flow:execution", "flowId": "flow", "correlationId": "execution", "created": lab.clock.now()}
    lab.platform.documents.put("cancelled", doc)
    assert ("flow", "execution") not in cancelled
    lost(lab)
    assert ("flow", "execution") in cancelled


def test_a_cache_that_came_back_empty_knows_again_which_calls_owe_an_answer(lab: Lab) -> None:
    lab.open()
    far = lab.clock.now() + 10_000
    doc = {"_id": "k", "flowId": "f", "correlationId": "c", "created": 0, "expires": far, "open": 1}
    lab.platform.documents.put("webhook_keys", doc)
    lost(lab)
    assert lab.platform.cache.get("keyed:c") == "k"


# -- while it is away


GATED = """
def receive(self, context):
    with context.lock("door", retry_delay=10, max_retry_count=3):
        context.send({}, "out")
"""


def test_a_connectors_lock_is_as_if_it_were_held(lab: Lab, switch: Callable[[], Switch]) -> None:
    lab.component("Locks", GATED)
    lab.open()
    flow = lab.flow({"hook": step("Hook"), "locks": step("Locks", ("hook", "out"))})
    away = switch()
    away.off()
    lab.post(flow, "hook", {}, enqueue_only=True)
    until(lambda: lab.platform.documents.count("timers"), "the message put back")
    lab.pass_time(60)
    (record,) = lab.errors(flow, "locks")
    assert "LOCK_NOT_ACQUIRED" in record["err"]
    assert "Redis cannot be reached" in record["err"]
    away.on()
    lab.pass_time(60)
    assert lab.outputs(flow, "locks") == [{}]


def test_values_of_connectors_are_not_found_and_not_kept(lab: Lab, switch: Callable[[], Switch]) -> None:
    code = """
    def receive(self, context):
        context.cache_set("k", 1, 60_000)
        context.send({"found": context.cache_get("k")}, "out")
    """
    lab.component("Keeps", code)
    lab.open()
    flow = lab.flow({"hook": step("Hook"), "keeps": step("Keeps", ("hook", "out"))})
    away = switch()
    away.off()
    lab.post(flow, "hook", {}, enqueue_only=True)
    assert lab.outputs(flow, "keeps") == [{"found": None}]
    away.on()
    lab.post(flow, "hook", {}, enqueue_only=True)
    assert {"found": 1} in lab.outputs(flow, "keeps", 2)


def keyed(lab: Lab, flow: str, key: str) -> Reply:
    return lab.post(flow, "hook", {}, headers={"idempotency-key": key})


def test_calls_with_a_key(lab: Lab, switch: Callable[[], Switch]) -> None:
    lab.open()
    trigger = step("appmixer.utils.http.WebhookTrigger", properties={"immediateResponse": False})
    flow = lab.flow({"hook": trigger, "answer": step("Answer", ("hook", "request"), fields={"n": "{{{$.@hook@.x}}}"})})
    first = keyed(lab, flow, "known")
    assert first.status == 201
    switch().off()
    assert keyed(lab, flow, "known") == first  # its answer is in Documents
    with pytest.raises(Unavailable):
        keyed(lab, flow, "unknown")


def test_the_answer_of_a_call_with_a_key_is_kept_all_the_same(lab: Lab, switch: Callable[[], Switch]) -> None:
    lab.open()
    keys, documents = lab.platform.webhooks._keys, lab.platform.documents
    doc = {"_id": "k", "flowId": "f", "correlationId": "c", "created": 0, "expires": 0, "open": 1}
    documents.put("webhook_keys", doc)
    switch().off()
    outcome = Outcome(reply=Reply(201, {"n": 1}))
    keys.keep(Message("m", "f", 1, 1, "s", "c", "in", None, {}, 0), outcome)
    (write,) = outcome.writes
    assert write.doc is not None
    assert write.doc["reply"]["status"] == 201
    assert documents.count("webhook_keys", Query(where=(Where("open", "eq", 1),))) == 1


def test_guessing_passwords_is_braked_in_each_process(lab: Lab, switch: Callable[[], Switch]) -> None:
    cache = MemoryCache()
    tries = Attempts(cache, "sign-in", f"{lab.folder}", "127.0.0.1")
    Switch(cache, pytest.MonkeyPatch()).off()
    for _ in range(ALLOWED):
        tries.check()
        tries.failed()
    with pytest.raises(TooManyRequests):
        tries.check()
    tries.succeeded()
    Attempts(cache, "sign-in", f"{lab.folder} other", "127.0.0.1").check()
    for _ in range(3):
        check_sign_ups(cache, f"{lab.folder}", 3)
    with pytest.raises(TooManyRequests):
        check_sign_ups(cache, f"{lab.folder}", 3)


def test_a_step_waits_for_a_quota(lab: Lab, switch: Callable[[], Switch]) -> None:
    lab.module_file("quota.py", 'from engine.sdk import Quota\n\nrules = [Quota(limit=1, resource="calls")]\n')
    lab.component("Limited", 'def receive(self, context):\n    context.send({}, "out")', quota={"manager": "test:lab"})
    lab.open()
    flow = lab.flow({"hook": step("Hook"), "limited": step("Limited", ("hook", "out"))})
    away = switch()
    away.off()
    lab.post(flow, "hook", {}, enqueue_only=True)
    until(lambda: "acquire_slot" in away.tried, "a try")
    away.on()
    assert lab.outputs(flow, "limited") == [{}]
    assert not [hit for hit in lab.log(flow, "limited") if hit["severity"] == "error"]
