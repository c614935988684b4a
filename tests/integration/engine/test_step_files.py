"""Changes of files by steps: once each, whatever is delivered again, and never over somebody else's change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from engine.errors import NotFound
from tests.integration.engine.conftest import Lab, until
from tests.integration.engine.test_durability import BLOCKS, crash

Make = Callable[..., dict[str, Any]]
ROWS = b"name,points\nann,1\nben,2\ncid,3\n"
BARE = {"withHeaders": False}
BLOCKS_AND_SAYS_SO = BLOCKS.replace("    while", "    context.cache_set('blocked', True, 600_000)\n    while")


def stored(lab: Lab, content: bytes = ROWS, user_id: str = "") -> str:
    metadata = {"userId": user_id or lab.caller.user_id}
    return lab.platform.files.save("a.csv", content, content_type="text/csv", metadata=metadata).file_id


def content(lab: Lab, file_id: str) -> bytes:
    with lab.platform.files.open(file_id) as file:
        return file.read()


def run_twice(lab: Lab, steps: dict[str, dict[str, Any]], blocked: str, data: Any = None) -> str:
    """The process dies while the step `blocked` runs, and the delivery comes again. → the flow, once it is through."""
    flow = lab.flow(steps)
    lab.platform.cache.set("static:block", True, 600)
    lab.post(flow, "hook", data or {}, enqueue_only=True)
    platform = lab.platform
    until(lambda: platform.cache.get("static:blocked"), "the step to be reached")
    crash(lab)
    platform.cache.delete("static:block")
    lab.open()
    lab.outputs(flow, blocked)
    lab.idle()
    assert not lab.platform.documents.find("unprocessed")
    return flow


@pytest.fixture
def blocking(lab: Lab) -> Lab:
    lab.component("Blocks", BLOCKS_AND_SAYS_SO)
    lab.open()
    return lab


@pytest.mark.parametrize(
    ("type", "properties", "fields", "expected"),
    [
        ("AddRow", BARE, {"row": "eve,5"}, ROWS + b"eve,5\n"),
        ("AddRows", BARE, {"rows": '[["eve", 5]]'}, ROWS + b"eve,5\n"),
        ("DeleteRows", BARE, {"indexes": "1"}, b"name,points\nben,2\ncid,3\n"),
        ("DeleteColumns", {"withHeaders": True}, {"columns": "points"}, b"name\nann\nben\ncid\n"),
        ("RenameColumn", {"withHeaders": True}, {"columnName": "name", "newColumnName": "who"}, b"who" + ROWS[4:]),
        ("AddColumn", BARE, {"index": 0, "defaultValue": "x"}, b"x,name,points\nx,ann,1\nx,ben,2\nx,cid,3\n"),
    ],
)
def test_a_redelivered_step_changes_a_csv_file_once(
    blocking: Lab, make: Make, type: str, properties: Any, fields: dict[str, Any], expected: bytes
) -> None:
    lab, file_id = blocking, stored(blocking)
    fields = {"fileId": file_id, "delimiter": ",", **fields}
    steps = {
        "hook": make("Hook"),
        "change": make(f"appmixer.utils.csv.{type}", ("hook", "out"), fields=fields, properties=properties),
        "blocks": make("Blocks", ("change", "fileId")),
    }
    run_twice(lab, steps, "blocks")
    assert content(lab, file_id) == expected


def test_a_file_made_again_keeps_what_came_later(lab: Lab, make: Make) -> None:
    """Made, written to and read in one delivery; the file made is the same, so nothing may be lost from it."""
    lab.component(
        "Makes",
        """
        effects = "state"
        def receive(self, context):
            context.send({"fileId": context.save_file("a.txt", b"made").file_id}, "out")
        """,
    )
    lab.component(
        "Adds",
        """
        effects = "state"
        def receive(self, context):
            file_id = context.messages["in"].content["fileId"]
            context.append_file(file_id, b" added")
            context.append_file(file_id, b" twice")
            context.send({"fileId": file_id}, "out")
        """,
    )
    lab.component("Blocks", BLOCKS_AND_SAYS_SO)
    lab.open()
    steps = {
        "hook": make("Hook"),
        "makes": make("Makes", ("hook", "out")),
        "adds": make("Adds", ("makes", "out")),
        "blocks": make("Blocks", ("adds", "out")),
    }
    flow = run_twice(lab, steps, "blocks")
    assert content(lab, lab.outputs(flow, "adds")[0]["fileId"]) == b"made added twice"


def test_a_try_that_failed_may_store_other_content(lab: Lab, make: Make) -> None:
    lab.component(
        "Saves",
        """
        effects = "state"
        tries = []
        def receive(self, context):
            self.tries.append(1)
            record = context.save_file("a.txt", str(len(self.tries)).encode())
            if len(self.tries) == 1:
                raise StepError("later", retryable=True)
            context.send({"fileId": record.file_id, "length": record.length}, "out")
        """,
    )
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "saves": make("Saves", ("hook", "out"))})
    lab.post(flow, "hook", {}, enqueue_only=True)
    lab.errors(flow, "saves")
    lab.idle()
    lab.pass_time(60)
    assert content(lab, lab.outputs(flow, "saves")[0]["fileId"]) == b"2"


def test_a_file_is_removed_once(blocking: Lab, make: Make) -> None:
    file_id = stored(blocking)
    remove = make("appmixer.utils.files.RemoveFile", ("hook", "out"), fields={"fileId": file_id})
    run_twice(
        blocking, {"hook": make("Hook"), "remove": remove, "blocks": make("Blocks", ("remove", "deleted"))}, "blocks"
    )
    with pytest.raises(NotFound):
        blocking.platform.files.info(file_id)


def test_a_missing_file_and_a_strangers_file_cannot_be_removed(lab: Lab, make: Make) -> None:
    lab.open()
    strangers = stored(lab, user_id="somebody-else")
    for file_id in (strangers, "none"):
        remove = make("appmixer.utils.files.RemoveFile", ("hook", "out"), fields={"fileId": file_id})
        flow = lab.flow({"hook": make("Hook"), "remove": remove})
        lab.post(flow, "hook", {}, enqueue_only=True)
        assert f"there is no file {file_id}" in lab.errors(flow, "remove")[0]["msg"]
    assert content(lab, strangers) == ROWS


def test_who_worked_from_old_content_begins_again(lab: Lab, make: Make) -> None:
    """Two steps have read the same content, as when a lock ran out: the later one is told, and tries again."""
    lab.component(
        "Extends",
        """
        effects = "state"
        tries = []
        def receive(self, context):
            self.tries.append(1)
            given = context.messages["in"].content
            record = context.file_info(given["fileId"])
            content = context.load_file(record.file_id)
            while given["name"] == "slow" and not context.cache_get("go"):
                time.sleep(0.01)
            context.replace_file(record.file_id, content + given["name"].encode(), expect=record.md5)
            context.send({}, "out")
        """,
    )
    lab.open()
    file_id = stored(lab, b"")
    flow = lab.flow({"hook": make("Hook"), "extends": make("Extends", ("hook", "out"))})
    tries = lab.platform.catalogue.require("test.lab.core.Extends").behaviour.tries  # type: ignore[attr-defined]
    lab.post(flow, "hook", {"fileId": file_id, "name": "slow"}, enqueue_only=True)
    until(lambda: tries, "the slow one to have read")
    lab.post(flow, "hook", {"fileId": file_id, "name": "fast"}, enqueue_only=True)
    lab.outputs(flow, "extends")
    lab.platform.cache.set("static:go", True, 600)
    assert "changed by somebody else" in lab.errors(flow, "extends")[0]["msg"]
    lab.idle()
    lab.pass_time(60)
    lab.outputs(flow, "extends", 2)
    assert content(lab, file_id) == b"fastslow"
