"""The pure parts of the pages: steps, log rows, files, queries, return addresses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from flask import Response
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadRequest
from engine.model.manifest import Manifest, read_manifest
from engine.services import flow_files
from webapp.pages import log_rows
from webapp.pages.flow_steps import labels_of, steps_of
from webapp.pages.flows import Listing
from webapp.pages.layout import own_path, tell
from webapp.pages.live import read_topics
from webapp.pages.run_log import query_of

HOOK = read_manifest({"name": "acme.web.core.Hook", "label": "Hook", "webhook": True, "outPorts": ["out"]})
JOIN = read_manifest({"name": "acme.web.core.Join", "label": "Join", "inPorts": ["left", "right"], "outPorts": ["out"]})


def lookup(type: str) -> Manifest | None:
    return {"acme.web.core.Hook": HOOK, "acme.web.core.Join": JOIN}.get(type)


FLOW: dict[str, Any] = {
    "join": {"type": JOIN.name, "x": 0, "source": {"left": {"hook": "out"}, "right": {"gone": ["out"]}}},
    "hook": {"type": HOOK.name, "label": "New order", "x": 500},
    "odd": {"type": "acme.web.core.Unknown", "x": 900, "disabled": True},
}


def test_steps_stand_in_the_order_messages_pass_them() -> None:
    assert [step["id"] for step in steps_of(FLOW, lookup)] == ["hook", "join", "odd"]


def test_a_step_tells_its_name_and_where_its_input_comes_from() -> None:
    hook, join, odd = steps_of(FLOW, lookup)
    assert (hook["label"], hook["kind"], hook["webhook"]) == ("New order", "trigger", True)
    assert join["inputs"] == [{"port": "left", "label": "New order", "out": "out"}]
    assert (join["label"], join["kind"], join["ports"]) == ("Join", "action", ["left", "right"])
    assert (odd["label"], odd["known"], odd["disabled"]) == ("Unknown", False, True)


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdefx"), unique=True), max_size=6))
def test_any_graph_lists_every_step_once(links: Mapping[str, list[str]]) -> None:
    flow = {
        cid: {"type": JOIN.name, "source": {"left": {s: ["out"] for s in senders}}} for cid, senders in links.items()
    }
    assert sorted(step["id"] for step in steps_of(flow, lookup)) == sorted(links)


def test_a_long_flow_drawn_from_right_to_left_is_put_in_order() -> None:
    """The time this takes once grew with the cube of the number of steps, and the server stood still meanwhile."""
    names = [f"s{n}" for n in range(5_000)]
    flow = {
        name: {"type": JOIN.name, "x": -n, "source": {"left": {names[n - 1]: ["out"]} if n else {}}}
        for n, name in enumerate(names)
    }
    assert [step["id"] for step in steps_of(dict(reversed(flow.items())), lookup)] == names


def test_a_circle_begins_at_its_leftmost_step() -> None:
    flow = {
        name: {"type": JOIN.name, "x": x, "source": {"left": {sender: ["out"]}}}
        for name, x, sender in (("c", 3, "b"), ("a", 1, "c"), ("b", 2, "a"), ("d", 0, "c"))
    }
    assert [step["id"] for step in steps_of(flow, lookup)] == ["d", "a", "b", "c"]


def test_a_log_row_reads_as_one_line() -> None:
    record = {
        "_id": "r1",
        "created": 5,
        "severity": "error",
        "componentId": "hook",
        "componentType": HOOK.name,
        "portType": "out",
        "port": "out",
        "senderId": "hook",
        "msg": '{"a":1}',
        "err": '{"message":"no\\n  connection","code":"E"}',
    }
    row = log_rows.row(record, labels_of(FLOW, lookup))
    assert row["text"] == "no connection"
    assert (row["step"], row["direction"], row["sender"]) == ("New order", "out", "")
    assert row["key"] == "0000000000005-r1"
    assert log_rows.text_of({**record, "err": None}) == '{"a":1}'
    assert log_rows.text_of({"msg": '"plain words"'}) == "plain words"
    assert len(log_rows.text_of({"msg": "x" * 5000})) == log_rows.LONGEST + 1


@given(st.text(), st.text())
def test_any_record_makes_a_row(msg: str, err: str) -> None:
    row = log_rows.row({"_id": "r", "created": 1, "msg": msg, "err": err}, {})
    assert "\n" not in row["text"]


@pytest.mark.parametrize(
    ("fields", "query"),
    [
        ({}, ""),
        ({"text": "  "}, ""),
        ({"text": 'Ada "x OR AND (y)'}, "ada* AND x* AND or* AND and* AND y*"),
        ({"severity": "error", "step": 'a"b\\'}, 'severity:"error" AND componentId:"ab"'),
    ],
)
def test_the_filter_becomes_a_query_whatever_is_typed(fields: dict[str, str], query: str) -> None:
    assert query_of(fields) == query


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.just({"type": "a.b.c"}), min_size=1, max_size=3), st.text())
def test_an_exported_flow_comes_back_the_same(flow: dict[str, Any], name: str) -> None:
    (read,) = flow_files.read_file("f.json", flow_files.write_file({"name": name, "flow": flow, "userId": "u"}))
    assert read["flow"] == flow
    assert "userId" not in read
    assert read["name"] == (name if name.strip() else "f")


@given(st.binary(max_size=60))
def test_any_file_is_read_or_refused_by_name(content: bytes) -> None:
    try:
        found = flow_files.read_file("odd.json", content)
    except BadRequest as error:
        message = error.message
    else:
        message = "odd.json"
        assert found
    assert message.startswith("odd.json")


def test_a_bare_descriptor_and_a_list_are_flows_too() -> None:
    bare = {"a": {"type": "x.y.z"}}
    assert flow_files.read_file("My flow.json", orjson.dumps(bare)) == [{"flow": bare, "name": "My flow"}]
    many = flow_files.read_file("x.json", b"\xef\xbb\xbf" + orjson.dumps([bare, {"name": "Two", "flow": bare}]))
    assert [flow["name"] for flow in many] == ["x", "Two"]


def test_a_file_name_is_safe() -> None:
    assert flow_files.file_name({"name": 'a/b "c"\r\n..'}) == "a-b-c.json"
    assert flow_files.file_name({"name": "日本"}) == "flow.json"


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("/app/flows/1?x=2", "/app/flows/1?x=2"),
        ("http://here.test/app/flows", "/app/flows"),
        ("//evil.test/app/flows", "/app/flows"),
        ("https://evil.test/", "/app/flows"),
        ("/appetite", "/app/flows"),
        ("/app/\\evil.test", "/app/flows"),
        ("javascript:alert(1)", "/app/flows"),
        ("", "/app/flows"),
        (None, "/app/flows"),
    ],
)
def test_the_way_back_after_sign_in_never_leaves_the_server(address: str | None, path: str) -> None:
    assert own_path(address) == path


@given(st.text())
def test_events_for_the_browser_survive_the_header(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    header = tell(Response(), {"toast": {"text": text}}).headers["HX-Trigger"]
    assert header.isascii()
    assert orjson.loads(header) == {"toast": {"text": text}}


def test_pages_of_a_list_have_addresses() -> None:
    listing = Listing(pattern="a b", stage="running", sort="mtime:-1", offset=25, total=60)
    assert listing.address == "/app/flows?pattern=a+b&stage=running&offset=25"
    assert listing.previous == "/app/flows?pattern=a+b&stage=running"
    assert listing.next == "/app/flows?pattern=a+b&stage=running&offset=50"
    assert Listing("", "", "name:1", 0, 25).next is None
    assert Listing("", "", "mtime:-1", 0).address == "/app/flows"


@pytest.mark.parametrize("text", ["", "log", "log:", "x:1", ",", "log:a,flow"])
def test_topics_of_a_stream_are_checked(text: str) -> None:
    with pytest.raises(BadRequest, match="topics"):
        read_topics(text)
