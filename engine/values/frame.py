"""What a mapping may look at while it is worked out for one message."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class FlowVariables:
    """What the flow-level modifiers give (`g_flowId` …). `url` is the address of the installation."""

    flow_id: str = ""
    flow_name: str = ""
    user_id: str = ""
    custom_fields: Mapping[str, Any] = field(default_factory=dict)
    url: str = ""

    def webhook_url(self, component_id: str) -> str:
        return f"{self.url}/flows/{self.flow_id}/components/{component_id}"


@dataclass(slots=True)
class Frame:
    """Made for every step of every message, so not frozen (that costs 1 µs); nobody changes it.

    `scope` is {component id: {out port: content}}; `seed` the message's id; `now_ms` epoch milliseconds.
    """

    scope: Mapping[str, Mapping[str, Any]]
    flow: FlowVariables
    seed: str
    now_ms: int
    component_id: str = ""


class Call(NamedTuple):
    """What a modifier that is no pure function of its arguments gets besides them.

    `key` names the place of the modifier in its mapping: together with the message's id it
    seeds random values, so that a redelivered message takes the same ones (design.md §4.5).
    """

    frame: Frame
    key: str

    def random_bytes(self, size: int) -> bytes:
        return hashlib.blake2b(f"{self.frame.seed}\x1f{self.key}".encode(), digest_size=size).digest()
