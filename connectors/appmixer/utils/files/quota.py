from __future__ import annotations

from engine.sdk import Quota

rules = [Quota(limit=80, resource="storeFile")]
