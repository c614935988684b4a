"""WSGI entry: `gunicorn "app:create()"` builds the platform from the environment and serves it."""

from __future__ import annotations

from flask import Flask

from engine import json_log, settings, wiring
from webapp.factory import create_app
from workers.loop import Workers

CLOSE = "headrace.close"


def create() -> Flask:
    """The application; `app.extensions[CLOSE]` drains its workers and closes its files."""
    config = settings.load()
    json_log.configure(config.log_level, config.masked_fields)
    platform = wiring.build(config)
    app = create_app(platform)
    workers = Workers(platform) if config.workers else None
    if workers is not None:
        workers.start()

    def close() -> None:
        if workers is not None:
            workers.stop()
        platform.close()

    app.extensions[CLOSE] = close
    return app
