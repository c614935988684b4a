"""The REST API: one module a resource, each with a blueprint named `routes`.

Resources stand at the root, as existing clients expect, and again under /api (design.md §6).
"""

from __future__ import annotations

from flask import Flask

from webapp.api import (
    accounts,
    apps,
    executions,
    files,
    flows,
    logs,
    modifiers,
    stores,
    system,
    unprocessed,
    users,
    webhooks,
)

RESOURCES = (webhooks, users, flows, apps, accounts, stores, files, logs, executions, unprocessed, modifiers)


def register(app: Flask) -> None:
    app.register_blueprint(system.routes)
    for resource in RESOURCES:
        name = resource.routes.name
        app.register_blueprint(resource.routes, name=f"api_{name}")
        app.register_blueprint(resource.routes, name=f"api_prefixed_{name}", url_prefix="/api")
