"""`headrace flow …` and `headrace user …`, without a server and with one."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "docs" / "examples" / "order.json"
HOOK = next(iter(json.loads(EXAMPLE.read_text())["flow"]))
PASSWORD = "correct horse"
ORDER = {"customer": " ada lovelace ", "quantity": 12, "price": 10}

Headrace = Callable[..., Result]


def ok(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.output


def refused(result: Result) -> str:
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    return result.output


def imported(headrace: Headrace, path: Path = EXAMPLE) -> str:
    found = re.fullmatch(rf"(\S+)  {path.name}\n", ok(headrace("flow", "import", str(path))))
    assert found is not None
    return found[1]


@pytest.fixture
def admin(headrace: Headrace) -> None:
    ok(headrace("user", "create", "ann@example.com", "--admin", "--password", PASSWORD))


@pytest.fixture(params=["in process", "over HTTP"])
def server(request: pytest.FixtureRequest, admin: None, start_server: Callable[..., Any]) -> bool:
    """Runs the test twice: with no server, and with one."""
    if request.param == "over HTTP":
        start_server()
    return bool(request.param == "over HTTP")


def call(environment: dict[str, str], path: str, body: Any, token: str = "") -> tuple[int, str]:
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    url = f"http://127.0.0.1:{environment['HEADRACE_PORT']}{path}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=30) as got:
            return got.status, got.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


# -- users


def test_the_first_user_is_an_administrator_and_says_so(headrace: Headrace) -> None:
    output = ok(headrace("user", "create", "ann@example.com", input=f"{PASSWORD}\n{PASSWORD}\n"))
    assert "administrator" in output
    assert output.endswith("ann@example.com created\n")
    assert "There are no flows yet." in ok(headrace("flow", "ls"))


def test_later_users_have_the_scope_asked_for(
    headrace: Headrace, server: bool, environment: dict[str, str], start_server: Callable[..., Any]
) -> None:
    ok(headrace("user", "create", "bob@example.com", "--password", PASSWORD))
    ok(headrace("user", "create", "eve@example.com", "--admin", "--password", PASSWORD))
    assert "exists already" in refused(headrace("user", "create", "bob@example.com", "--password", PASSWORD))
    if not server:
        start_server()
    for name, scope in (("bob", ["user"]), ("eve", ["user", "admin"])):
        status, answer = call(environment, "/user/auth", {"username": f"{name}@example.com", "password": PASSWORD})
        assert (status, json.loads(answer)["user"]["scope"]) == (200, scope)


def test_a_bad_password_is_refused(headrace: Headrace) -> None:
    assert "password" in refused(headrace("user", "create", "ann@example.com", "--password", "x"))


def test_without_users_commands_say_how_to_make_one(headrace: Headrace) -> None:
    assert "headrace user create" in refused(headrace("flow", "ls"))


def test_a_server_without_users_makes_the_first_one_in_the_browser(
    headrace: Headrace, start_server: Callable[..., Any]
) -> None:
    start_server()
    assert "in the browser" in refused(headrace("user", "create", "ann@example.com", "--password", PASSWORD))


# -- flows


def test_a_flow_from_import_to_removal(headrace: Headrace, server: bool, tmp_path: Path) -> None:
    flow_id = imported(headrace)
    assert re.search(rf"{flow_id} +Price an order +stopped", ok(headrace("flow", "ls")))
    assert ok(headrace("flow", "start", flow_id)) == f"{flow_id} started\n"
    assert json.loads(ok(headrace("flow", "ls", flow_id)))["stage"] == "running"
    assert ok(headrace("flow", "stop", flow_id)) == f"{flow_id} stopped\n"
    assert re.search(rf"{flow_id} .* stopped", ok(headrace("flow", "ls")))
    target = tmp_path / "out.json"
    ok(headrace("flow", "export", flow_id, "-o", str(target)))
    given, exported = json.loads(EXAMPLE.read_text()), json.loads(target.read_text())
    assert json.loads(ok(headrace("flow", "export", flow_id))) == exported
    assert (exported["name"], set(exported["flow"])) == (given["name"], set(given["flow"]))
    again = imported(headrace, target)
    assert again != flow_id
    assert json.loads(ok(headrace("flow", "ls", again)))["flow"] == exported["flow"]
    assert ok(headrace("flow", "rm", "-y", flow_id)) == f"{flow_id} deleted\n"
    assert flow_id not in ok(headrace("flow", "ls"))
    assert flow_id in refused(headrace("flow", "ls", flow_id))


def test_starting_tells_of_variables_that_will_be_empty(headrace: Headrace, admin: None, tmp_path: Path) -> None:
    record = json.loads(EXAMPLE.read_text())
    first = next(cid for cid, step in record["flow"].items() if step.get("source"))
    record["flow"][first]["config"]["properties"] = {"note": "{{{$.gone.out}}}"}
    (tmp_path / "order.json").write_text(json.dumps(record))
    flow_id = imported(headrace, tmp_path / "order.json")
    output = ok(headrace("flow", "start", flow_id))
    assert re.search(r"warning: .*, note: reads the step gone, which is not in the flow any more", output)
    assert output.endswith(f"{flow_id} started\n")


def test_a_started_flow_answers(
    headrace: Headrace, server: bool, environment: dict[str, str], start_server: Callable[..., Any]
) -> None:
    """Also when it was started while no server ran."""
    flow_id = imported(headrace)
    ok(headrace("flow", "start", flow_id))
    if not server:
        start_server()
    answer = call(environment, f"/flows/{flow_id}/components/{HOOK}", ORDER)
    assert answer == (200, "Thank you, Ada Lovelace: 120 in all, delivery is free.\n")
    ok(headrace("flow", "stop", flow_id))
    status, body = call(environment, f"/flows/{flow_id}/components/{HOOK}", ORDER)
    assert status == 404
    assert "stopped" in json.loads(body)["message"]


def test_an_administrator_sees_everybodys_flows(
    headrace: Headrace, admin: None, environment: dict[str, str], start_server: Callable[..., Any]
) -> None:
    ok(headrace("user", "create", "bob@example.com", "--password", PASSWORD))
    start_server()
    _, answer = call(environment, "/user/auth", {"username": "bob@example.com", "password": PASSWORD})
    call(environment, "/flows", {"name": "Bob's [own] flow", "flow": {}}, json.loads(answer)["token"])
    assert "Bob's [own] flow" in ok(headrace("flow", "ls"))


def test_removal_asks_first(headrace: Headrace, admin: None) -> None:
    flow_id = imported(headrace)
    assert headrace("flow", "rm", flow_id, input="n\n").exit_code == 1
    assert flow_id in ok(headrace("flow", "ls"))
    ok(headrace("flow", "rm", flow_id, input="y\n"))
    assert "There are no flows yet." in ok(headrace("flow", "ls"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "not JSON"),
        (b"[]", "no flow"),
        (b'{"name": "x"}', "not a flow"),
        (b'{"flow": {"a": {"type": 1}}}', "flow.a.type"),
        (b'\xff\xfe{"flow": {}}', "not JSON"),
    ],
)
def test_a_file_that_is_no_flow_is_named(
    headrace: Headrace, admin: None, tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    assert said in refused(headrace("flow", "import", str(EXAMPLE), str(path)))


def test_a_file_with_a_byte_order_mark_and_no_name_takes_the_files(
    headrace: Headrace, admin: None, tmp_path: Path
) -> None:
    path = tmp_path / "nightly.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"flow": {}}).encode())
    assert "nightly" in ok(headrace("flow", "ls", imported(headrace, path)))


def test_a_flow_that_cannot_start_says_where(headrace: Headrace, server: bool, tmp_path: Path) -> None:
    path = tmp_path / "unready.json"
    steps = {name: {"type": f"acme.none.core.{name}", "source": {}} for name in ("One", "Two")}
    path.write_text(json.dumps({"name": "unready", "flow": steps}))
    output = refused(headrace("flow", "start", imported(headrace, path)))
    assert "acme.none.core.One" in output
    assert "acme.none.core.Two" in output


@pytest.mark.parametrize("command", [("start",), ("stop",), ("export",), ("rm", "-y"), ("ls",)])
def test_an_unknown_flow_is_named(headrace: Headrace, admin: None, command: tuple[str, ...]) -> None:
    assert "no-such-flow" in refused(headrace("flow", *command, "no-such-flow"))


def test_a_server_on_another_port_is_explained(
    headrace: Headrace, admin: None, environment: dict[str, str], start_server: Callable[..., Any]
) -> None:
    start_server()
    environment["HEADRACE_PORT"] = "1"
    assert "HEADRACE_PORT" in refused(headrace("flow", "ls"))


def test_a_server_with_another_secret_is_explained(
    headrace: Headrace, admin: None, environment: dict[str, str], start_server: Callable[..., Any]
) -> None:
    start_server()
    environment["HEADRACE_SECRET"] = "not the server's"
    assert "HEADRACE_SECRET" in refused(headrace("flow", "ls"))


def test_a_bad_setting_is_named(headrace: Headrace, environment: dict[str, str]) -> None:
    environment["HEADRACE_PORT"] = "many"
    assert "HEADRACE_PORT must be a whole number" in refused(headrace("flow", "ls"))
