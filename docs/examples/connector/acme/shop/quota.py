"""The shop takes two calls at a time from one customer."""

from __future__ import annotations

from engine.sdk import Quota

rules = [Quota(limit=2, resource="requests", scope="userId")]
