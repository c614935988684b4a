"""`headrace up`: the whole platform in one serving process, supervised by gunicorn.

The supervising parent starts the process again if it dies; the process takes the lock on the
data folder, so there is never more than one.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import time
from typing import Any, NoReturn

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import AppImportError

import app as entry
from cli.one_core import keep_to_one_core
from engine.errors import HeadraceError
from engine.settings import Settings, SettingsError
from webapp.current import EXTENSION as PLATFORM

LONGEST_LINE = 8190
"""Bytes of method, address and query: filters of lists may be long. gunicorn allows no more."""

KEEP_ALIVE = 75
GRACE = 40
HUNG = 120
TRY_AGAIN = 1.0
STORAGE = "STORAGE"
"""Code of an error of the disk or the database."""

M_ARENA_MAX = -8
"""mallopt's number for the largest count of heaps (malloc.h)."""


class Server(BaseApplication):
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()  # type: ignore[no-untyped-call]

    def load_config(self) -> None:
        s = self._settings
        options: dict[str, Any] = {
            "bind": s.netloc,
            "workers": 1,
            "worker_class": "cli.gunicorn_worker.StickyThreadWorker",
            "threads": s.web_threads,
            "worker_connections": 2000,
            "limit_request_line": LONGEST_LINE,
            "keepalive": KEEP_ALIVE,
            "timeout": HUNG,
            "graceful_timeout": GRACE,
            "proc_name": "headrace",
            "loglevel": "warning",
            "control_socket_disable": True,
            "worker_exit": _ended,
            "post_worker_init": lambda worker: _serving(s, worker),
        }
        assert self.cfg is not None
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        _few_arenas()
        if self._settings.one_core:
            keep_to_one_core()
        try:
            application = entry.create()
        except (HeadraceError, OSError) as error:
            _give_up(error)
        gc.collect()
        gc.freeze()  # what lives as long as the process need not be looked at again
        gc.set_threshold(50_000, 20, 50)
        sys.setswitchinterval(0.001)  # what works on in the background gives way sooner to those who wait
        return application


def _give_up(error: HeadraceError | OSError) -> NoReturn:
    """A fault that may pass (disk full, file locked) ends this process only: the parent starts another one.

    Anything else stops the server, with one line that says why.
    """
    text = error.message if isinstance(error, HeadraceError) else str(error)
    if isinstance(error, HeadraceError) and error.code != STORAGE:
        raise AppImportError(f"headrace: {text}") from error
    print(f"headrace: {text}; trying again", file=sys.stderr, flush=True)
    time.sleep(TRY_AGAIN)
    raise SystemExit(os.EX_TEMPFAIL)


def _serving(settings: Settings, worker: Any) -> None:
    worker.wsgi.extensions[PLATFORM].health.checks.append(worker.shortage)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both processes; the parent tells this one to end
    print(f"Headrace serves {settings.public_url}", flush=True)


def _few_arenas() -> None:
    """glibc gives every thread a heap of its own, which with a hundred threads holds much and shares little."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 2)


def _ended(_arbiter: Any, worker: Any) -> None:
    for number in (signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # asked twice: closing must not be cut off half-way
    close = getattr(getattr(worker, "wsgi", None), "extensions", {}).get(entry.CLOSE)
    if close is not None:
        close()


class SteadyArbiter(Arbiter):
    """gunicorn gives up for good when its process ends with the status 3 or 4, taking it for one that could
    not start. A connector may end the process with any status; ours are ones nobody chooses."""

    WORKER_BOOT_ERROR = 213
    APP_LOAD_ERROR = 214


def serve(settings: Settings) -> None:
    """Does not return; ends with the process on SIGTERM or SIGINT."""
    try:
        SteadyArbiter(Server(settings)).run()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise SettingsError(f"the server did not start: {error}") from error
