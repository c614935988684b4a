"""Real flows of the vendor's own end-to-end tests, imported unchanged over REST and run to their ends.

The expected outcomes are those of `shared/corpus/runnable-flows.md`, "Runnable as stored".
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson


def test_csv(rig: Any, corpus_flows: dict[str, Any]) -> None:
    success, failed = "66b12f08f8231779367abb39", "66b12f0af8231779367abb3a"
    rig.store(success, "passed")
    rig.store(failed, "failed")
    flow_id = rig.call("POST", "/flows", corpus_flows["utils/csv/test-flow.json"])["flowId"]
    result = orjson.loads(rig.run(flow_id, success, "CSV E2E"))
    assert [len(entry["error"]) for entry in result] == [0, 0, 0, 0]
    counts = {entry["componentName"]: len(entry["success"]) for entry in result}
    assert sorted(counts.values()) == [1, 2, 2, 4]
    assert rig.entries(failed) == {}
    assert rig.mails() == 0
    exported = [orjson.loads(h["msg"])["content"] for h in rig.emitted(flow_id, "appmixer.utils.csv.ExportCSV", 1)]
    assert exported == ["Name,Points\nJiří,100\nAbby,22\nBetty,21\n"]


def test_filters(rig: Any, corpus_flows: dict[str, Any]) -> None:
    store = "5f8eb9120c51c800088c662f"
    rig.store(store, "results")
    flow_id = rig.call("POST", "/flows", corpus_flows["utils/filters/test-flow.json"])["flowId"]
    result = orjson.loads(rig.run(flow_id, store, "E2E utils.filters"))
    assert set(result) == {"now", "runId"}
    assert rig.mails() == 0
    emitted = rig.emitted(flow_id, "appmixer.utils.filters.IsNotEmpty", 4)
    assert [h["port"] for h in emitted] == ["notEmpty"] * 4


def test_ftp(rig: Any, corpus_flows: dict[str, Any], ftp_server: tuple[int, Path]) -> None:
    port, root = ftp_server
    success, failed = "5ede75a6fcff6f0008cfba72", "5ede769afcff6f0008cfba73"
    rig.store(success, "passed")
    rig.store(failed, "failed")
    rig.file("e1a3f850-0da3-4934-8ac6-1bc31738269c", "testfile.xls", b"\xd0\xcf\x11\xe0 rows")
    flow_id = rig.call("POST", "/flows", corpus_flows["utils/ftp/test-flow.json"])["flowId"]
    token = {"host": "127.0.0.1", "port": str(port), "username": "flow", "password": "secret", "secure": "no"}
    account = rig.call("POST", "/accounts", {"service": "appmixer:utils:ftp", "token": token})["accountId"]
    for cid, step in rig.call("GET", f"/flows/{flow_id}")["flow"].items():
        if step["type"].startswith("appmixer.utils.ftp."):
            rig.call("PUT", f"/auth/component/{cid}/{account}")
    assert rig.run(flow_id, success, "E2E Flow for FTP") == "{}"
    assert rig.entries(failed) == {}
    assert rig.mails() == 0
    errors = {label: len(result["error"]) for label, result in rig.asserts(flow_id).items()}
    assert sum(errors.values()) == 2, errors  # the two rows the table says must err
    assert list((root / "Pictures").iterdir()) == []
