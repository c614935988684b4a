"""Pages for browsers under /app: one module a screen, with its htmx fragments."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flask import Flask

from webapp import static_files

if TYPE_CHECKING:
    from engine.wiring import Platform


def register(app: Flask, platform: Platform) -> None:
    from webapp.pages import access, flow, flows, layout, live, run_log

    static_files.register(app, Path(app.root_path) / "static")
    layout.register(app)
    live.register(app, platform)
    for module in (access, flows, flow, run_log, live):
        app.register_blueprint(module.pages)
