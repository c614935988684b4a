"""A server of its own in a process of its own, and a browser that fails the test on any console error."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests import needs

ROOT = Path(__file__).parents[2]
ARGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 60.0
COMMAND = Path(sys.executable).with_name("headrace")

NewPage = Callable[..., Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = needs.program("chromium", "the pages cannot be looked at")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=ARGS)
        yield launched
        launched.close()


def serve(data: Path, **settings: str) -> tuple[subprocess.Popen[bytes], str]:
    """`headrace up` on a free port; (its process, its address) once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # a closed page holds its live stream until the next heartbeat, and streams may take half of the threads
    given = {"PORT": str(port), "DATA": str(data), "LOG_LEVEL": "WARNING", "WEB_THREADS": "400", **settings}
    env = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    env |= {f"HEADRACE_{name}": value for name, value in given.items()}
    data.mkdir(parents=True, exist_ok=True)
    with (data / "server.log").open("wb") as log:
        process = subprocess.Popen([COMMAND, "up"], cwd=ROOT, env=env, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health/live", timeout=2):
                return process, address
        except OSError:
            time.sleep(0.05)
    process.kill()
    raise AssertionError(f"the server did not start:\n{(data / 'server.log').read_text()}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    process, address = serve(tmp_path_factory.mktemp("server") / "data")
    yield address
    process.terminate()
    process.wait(PATIENCE)


@pytest.fixture
def new_page(browser: Browser, server: str) -> Iterator[NewPage]:
    """Open pages in a browser context with the given options; `expect_errors` names console texts that may appear."""
    contexts: list[BrowserContext] = []
    problems: list[str] = []

    def make(expect_errors: tuple[str, ...] = (), **options: Any) -> Page:
        context = browser.new_context(base_url=server, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)

        def heard(text: str) -> None:
            if not any(part in text for part in expect_errors):
                problems.append(f"{page.url}: {text}")

        page.on("console", lambda message: heard(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: heard(str(error)))
        return page

    yield make
    for context in contexts:
        context.close()
    assert problems == []
