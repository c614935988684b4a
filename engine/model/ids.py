"""Identifiers of things people own. Messages have their own (`engine.model.message`)."""

from __future__ import annotations

import os
import time


def object_id() -> str:
    """24 hexadecimal digits, the first eight of them the time: users, accounts and stores (rest-api.md §1)."""
    return int(time.time()).to_bytes(4, "big").hex() + os.urandom(8).hex()
