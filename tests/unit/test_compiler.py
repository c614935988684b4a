"""Plans: what messages must carry, and where they may run on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.compiler import Plan, compile_flow
from engine.model.flow import read_descriptor
from engine.model.manifest import Manifest, read_manifest
from engine.sdk import Component
from engine.values.registry import builtin_registry


class Pure(Component):
    effects = "none"


class Caller(Component):
    effects = "external"


class Reader(Component):
    effects = "none"
    reads_scope = True


@dataclass(frozen=True)
class Kind:
    manifest: Manifest
    behaviour: Component
    trusted: bool = True
    password_fields: frozenset[str] = frozenset()


def _kind(name: str, behaviour: Component, *, trusted: bool = True) -> Kind:
    ports = {"inPorts": [{"name": "in", "schema": {"type": "object"}}], "outPorts": ["out"]}
    return Kind(read_manifest({"name": f"test.lab.core.{name}", **ports}), behaviour, trusted)


KINDS = {
    "pure": _kind("Pure", Pure()),
    "foreign": _kind("Foreign", Pure(), trusted=False),
    "external": _kind("External", Caller()),
    "reader": _kind("Reader", Reader()),
}


def plan(**steps: tuple[str, str, str]) -> Plan:
    """Each step as (kind, names it follows, names whose output it reads)."""
    return compile_flow(read_descriptor(descriptor(steps)), KINDS.get, builtin_registry())


def descriptor(steps: dict[str, tuple[str, str, str]]) -> dict[str, Any]:
    flow = {}
    for name, (kind, follows, reads) in steps.items():
        fields = {f"f{n}": f"{{{{{{$.{read}.out.x}}}}}}" for n, read in enumerate(reads.split())}
        mapping = {"out": {"type": "json2new", "lambda": fields, "modifiers": {}}}
        flow[name] = {
            "type": kind,
            "source": {"in": {sender: ["out"] for sender in follows.split()}},
            "config": {"transform": {"in": dict.fromkeys(follows.split(), mapping)}},
        }
    return flow


def inline(found: Plan) -> set[str]:
    return {cid for cid, step in found.steps.items() if step.inline}


def needs(found: Plan, name: str) -> set[str] | None:
    outputs = found.steps[name].needs
    return None if outputs is None else {component for component, _ in outputs}


def test_a_message_carries_what_this_step_or_a_later_one_reads_of_earlier_ones() -> None:
    found = plan(a=("pure", "", ""), b=("pure", "a", "a"), c=("pure", "b", "b"), d=("pure", "c", "a c"))
    assert [needs(found, name) for name in "abcd"] == [set(), {"a"}, {"a", "b"}, {"a", "c"}]
    assert set(found.read or ()) == {("a", "out"), ("b", "out"), ("c", "out")}


def test_a_step_that_looks_into_the_scope_itself_needs_everything_and_so_do_those_before_it() -> None:
    found = plan(a=("pure", "", ""), b=("pure", "a", "a"), c=("reader", "b", ""), d=("pure", "a", "a"))
    assert [needs(found, name) for name in "abcd"] == [None, None, None, {"a"}]
    assert found.read is None


def test_messages_run_on_where_nothing_foreign_comes_before_the_next_external_step() -> None:
    found = plan(
        hook=("pure", "", ""),
        own=("pure", "hook", ""),
        call=("external", "own", ""),
        foreign=("foreign", "call", ""),
        before_foreign=("pure", "", ""),
        also=("foreign", "before_foreign", ""),
    )
    assert inline(found) == {"hook", "own"}


def test_a_long_flow_stays_cheap_to_compile_and_to_keep() -> None:
    """Both once grew with the square of the number of steps: 9,000 steps held a server up for 37 s."""
    names = [f"s{n}" for n in range(8_000)]
    steps = {name: ("pure", before, before) for before, name in zip(["", *names], names, strict=False)}
    found = plan(**steps)
    assert max(len(step.needs or ()) for step in found.steps.values()) == 1
    assert inline(found) == set(names)
