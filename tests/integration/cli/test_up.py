"""`headrace up` as a process: what it prints, who it lets in, how it ends."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil

Server = subprocess.Popen[str]


def test_it_says_where_it_serves_and_ends_in_order(
    environment: dict[str, str], start_server: Callable[..., Server]
) -> None:
    server = start_server()
    server.send_signal(signal.SIGTERM)
    printed, errors = server.communicate(timeout=60)
    assert server.returncode == 0, errors
    assert printed == f"Headrace serves http://127.0.0.1:{environment['HEADRACE_PORT']}\n"
    assert errors == ""


def test_ctrl_c_ends_it_in_order(start_server: Callable[..., Server]) -> None:
    """A terminal sends the signal to the parent and to the serving process."""
    server = start_server()
    os.killpg(server.pid, signal.SIGINT)
    _, errors = server.communicate(timeout=100)
    assert (server.returncode, errors) == (0, "")


def test_asked_twice_it_still_ends_in_order(start_server: Callable[..., Server]) -> None:
    server = start_server()
    (child,) = psutil.Process(server.pid).children()
    child.send_signal(signal.SIGTERM)
    server.send_signal(signal.SIGTERM)
    _, errors = server.communicate(timeout=100)
    assert (server.returncode, errors) == (0, "")


def test_a_second_process_on_the_data_folder_refuses_to_start(
    environment: dict[str, str], start_server: Callable[..., Server], another_port: str
) -> None:
    start_server()
    second = start_server(ready=False, HEADRACE_PORT=another_port)
    _, errors = second.communicate(timeout=90)
    assert second.returncode != 0
    assert f"the data folder {environment['HEADRACE_DATA']} is in use by process" in errors
    assert "Traceback" not in errors


def test_a_bad_setting_stops_the_start(start_server: Callable[..., Server]) -> None:
    server = start_server(ready=False, HEADRACE_ADMIN_EMAIL="ann@example.com")
    _, errors = server.communicate(timeout=60)
    assert server.returncode == 1
    assert errors == "headrace: HEADRACE_ADMIN_EMAIL and HEADRACE_ADMIN_PASSWORD must be given together\n"


def test_the_administrator_of_the_settings_may_sign_in(
    environment: dict[str, str], start_server: Callable[..., Server]
) -> None:
    start_server(HEADRACE_ADMIN_EMAIL="ann@example.com", HEADRACE_ADMIN_PASSWORD="correct horse")
    body = json.dumps({"username": "ann@example.com", "password": "correct horse"}).encode()
    url = f"http://127.0.0.1:{environment['HEADRACE_PORT']}/user/auth"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert "admin" in json.load(answer)["user"]["scope"]


def test_a_killed_serving_process_is_replaced(environment: dict[str, str], start_server: Callable[..., Server]) -> None:
    server = start_server()
    (child,) = psutil.Process(server.pid).children()
    child.kill()
    assert server.stdout is not None
    lines = [server.stdout.readline() for _ in range(2)]  # once for each start
    assert lines == [f"Headrace serves http://127.0.0.1:{environment['HEADRACE_PORT']}\n"] * 2
    with urllib.request.urlopen(f"http://127.0.0.1:{environment['HEADRACE_PORT']}/health", timeout=30) as answer:
        assert answer.status == 200


def test_the_secret_is_made_once_and_kept_private(
    environment: dict[str, str], start_server: Callable[..., Server]
) -> None:
    start_server()
    secret = Path(environment["HEADRACE_DATA"]) / "secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert len(secret.read_text()) >= 40


def test_long_addresses_are_answered_and_too_long_ones_refused_in_words(
    environment: dict[str, str], start_server: Callable[..., Server]
) -> None:
    start_server()

    def get(path: str, **headers: str) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", int(environment["HEADRACE_PORT"]), timeout=30)
        with closing(connection):
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    long = "/health?q="
    assert get(long + "x" * (8_190 - len(f"GET {long} HTTP/1.1")))[0] == 200
    for length in (8_191, 100_000, 2_000_000):
        status, body = get(long + "x" * length)
        assert (status, body["statusCode"], body["error"]) == (414, 414, "Request-URI Too Long")
        assert "8190 bytes" in body["message"]
    status, body = get("/health", X="x" * 20_000)
    assert (status, body["statusCode"]) == (431, 431)
    assert "header" in body["message"]
