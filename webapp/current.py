"""The platform behind the request being answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from flask import current_app

if TYPE_CHECKING:
    from engine.wiring import Platform

EXTENSION = "headrace"


def platform() -> Platform:
    return cast("Platform", current_app.extensions[EXTENSION])
