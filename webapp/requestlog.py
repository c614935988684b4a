"""One log record per answered request. Queries, headers and bodies are left out: they hold secrets."""

from __future__ import annotations

import logging
import time

from flask import Flask, Response, g, request

from webapp.session import known_caller

log = logging.getLogger(__name__)

QUIET = ("/static/", "/health", "/metrics")


def register(app: Flask) -> None:
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    g.began = time.perf_counter()


def _end(response: Response) -> Response:
    if not request.path.startswith(QUIET):
        who = known_caller()
        log.info(
            "request",
            extra={
                "action": "request",
                "method": request.method,
                "path": request.path,
                "status": response.status_code,
                "ms": round((time.perf_counter() - g.began) * 1000, 1),
                "address": request.remote_addr,
                "userId": who.user_id if who else None,
            },
        )
    return response
