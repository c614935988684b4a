"""What is cleared away by age and by size, and what is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from engine.model.log import LogQuery
from engine.ports import Query, Where
from tests.integration.engine.conftest import Lab, until

Make = Callable[..., dict[str, Any]]
DAY = 86_400_000


def keep_file(lab: Lab, name: str, content: bytes = b"x", **metadata: Any) -> str:
    record = lab.platform.files.save(
        name, content, content_type="text/plain", metadata={"userId": lab.caller.user_id, **metadata}
    )
    return record.file_id


def names(lab: Lab) -> set[str]:
    return {record.filename for record in lab.platform.files.find(Query())}


def after(lab: Lab, days: float) -> None:
    lab.clock.ms += round(days * DAY)
    lab.platform.housekeeping()


def unprocessed(lab: Lab, count: int, size: int = 0) -> None:
    for n in range(count):
        doc = {"_id": f"m{n:05}", "flowId": "f", "created": lab.clock.ms + n, "text": "x" * size}
        lab.platform.documents.put("unprocessed", doc)


def test_the_defaults_keep_thirty_days(lab: Lab, make: Make) -> None:
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "echo": make("Echo", ("hook", "out"), fields={})})
    lab.post(flow, "hook", {})
    until(lambda: lab.log(flow, "echo"), "log records")
    unprocessed(lab, 3)
    after(lab, 29)
    assert lab.log(flow, "echo")
    assert lab.platform.documents.count("unprocessed") == 3
    after(lab, 2)
    assert lab.platform.log_index.search(LogQuery()).hits == []
    assert lab.platform.documents.count("unprocessed") == 0


def test_more_than_one_piece_goes_in_one_round(lab: Lab) -> None:
    lab.open()
    unprocessed(lab, 450)
    lab.clock.ms += 31 * DAY
    pieces = sum(1 for _ in lab.platform.housekeeping.pieces())
    assert lab.platform.documents.count("unprocessed") == 0
    assert pieces > 3


def test_zero_keeps_for_ever(lab: Lab) -> None:
    lab.options = {"unprocessed_days": 0, "unprocessed_bytes": 0, "flow_file_days": 0}
    lab.open()
    unprocessed(lab, 3)
    keep_file(lab, "flow", originFlowId="f")
    after(lab, 4000)
    assert lab.platform.documents.count("unprocessed") == 3
    assert names(lab) == {"flow"}


def test_unprocessed_messages_beyond_the_size_go_oldest_first(lab: Lab) -> None:
    lab.options = {"unprocessed_bytes": 1_000_000}
    lab.open()
    unprocessed(lab, 60, size=50_000)
    after(lab, 0.1)
    kept = [d["_id"] for d in lab.platform.documents.find("unprocessed", Query(sort=(("_id", 1),)))]
    assert 15 <= len(kept) <= 20
    assert kept[-1] == "m00059"


def test_files_of_flows_go_when_long_unused_and_those_of_people_stay(lab: Lab) -> None:
    lab.open()
    keep_file(lab, "unused", originFlowId="f")
    used = keep_file(lab, "used", originFlowId="f")
    keep_file(lab, "uploaded")
    keep_file(lab, "half uploaded", upload={"total": 2})
    lab.platform.files.save("payload", b"x", content_type="application/json", metadata={"payload": True})
    after(lab, 2)
    assert names(lab) == {"unused", "used", "uploaded", "payload"}
    after(lab, 20)
    lab.platform.files.open(used).close()
    after(lab, 20)
    assert names(lab) == {"used", "uploaded", "payload"}
    after(lab, 4000)
    assert names(lab) == {"uploaded", "payload"}


def test_uploads_go_only_where_the_setting_says_so(lab: Lab) -> None:
    lab.options = {"upload_days": 10, "flow_file_days": 0}
    lab.open()
    keep_file(lab, "flow", originFlowId="f")
    keep_file(lab, "uploaded")
    after(lab, 11)
    assert names(lab) == {"flow"}


def test_files_of_flows_beyond_the_size_go_longest_unused_first(lab: Lab) -> None:
    lab.options = {"flow_file_bytes": 1000}
    lab.open()
    for n in range(5):
        keep_file(lab, f"f{n}", b"x" * 300, originFlowId="f")
        lab.clock.ms += 1000
    keep_file(lab, "uploaded", b"x" * 5000)
    after(lab, 0.1)
    assert names(lab) == {"f2", "f3", "f4", "uploaded"}


def test_the_run_log_beyond_its_size_is_cut(lab: Lab) -> None:
    lab.options = {"log_bytes": 300_000}
    lab.open()
    records = [
        {"id": f"r{n:04}", "created": lab.clock.ms + n, "type": "data", "flowId": "f", "msg": f"x{n} " * 200}
        for n in range(1000)
    ]
    lab.platform.log_index.append(records)
    after(lab, 0.1)
    left = lab.platform.log_index.search(LogQuery(sort=(("created", 1),), size=1000)).hits
    assert 0 < len(left) < 600
    assert left[-1]["_id"] == "r0999"


@pytest.mark.parametrize("waiting", [True, False])
def test_a_former_version_stays_while_a_timer_refers_to_it(lab: Lab, make: Make, waiting: bool) -> None:
    lab.component(
        "Later",
        """
        effects = "state"
        def receive(self, context):
            if context.messages.get("timeout"):
                context.send({}, "out")
            else:
                context.set_timeout({}, 40 * 86_400_000)
        """,
    )
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "later": make("Later", ("hook", "out"))})
    if waiting:
        lab.post(flow, "hook", {}, enqueue_only=True)
        until(lambda: lab.platform.documents.count("timers"), "a timer")
        lab.idle()
    record = lab.platform.flows.get(flow, lab.caller)
    changed = {cid: {**step, "label": "new"} for cid, step in record["flow"].items()}
    lab.platform.flows.save(flow, {"flow": changed}, lab.caller, force=True)
    theirs = Query(where=(Where("flowId", "eq", flow),))
    assert lab.platform.documents.count("revisions", theirs) == 1
    after(lab, 31)
    assert lab.platform.documents.count("revisions", theirs) == int(waiting)
    lab.pass_time(10 * 86_400)
    lab.idle()
    lab.platform.housekeeping()
    assert lab.platform.documents.count("revisions", theirs) == 0


def test_flows_go_on_while_much_is_cleared_away(lab: Lab, make: Make) -> None:
    lab.open()
    flow = lab.flow({"hook": make("Hook"), "answer": make("Answer", ("hook", "out"))})
    unprocessed(lab, 2000)
    lab.clock.ms += 31 * DAY
    answered = 0
    for _ in lab.platform.housekeeping.pieces():
        assert lab.post(flow, "hook", {}).status == 201
        answered += 1
    assert answered > 10
