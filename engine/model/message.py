"""A message on its way to one component, and what travels with it.

Messages are frozen: changing one means copying it (`dataclasses.replace`).
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

FORMAT = 1

DEEPEST = 254
"""Levels of nesting that orjson writes."""

ROOM = 16
"""Levels of nesting kept free around the contents of messages."""

REPLAY_OF = "replayOf"
"""Key in `extra`: the correlation id of the execution that is played again. All of an execution's messages have it."""

CALL = "call"
"""Key in `extra`: the id of the message by which a call came back to an execution under way, in all it causes."""

ANSWERED = "answered"
"""Key in `extra`: a step on the way to this message has answered the call."""

Kind = Literal["port", "webhook", "timeout", "signal", "tick", "start"]
Scope = dict[str, dict[str, Any]]
"""Ancestor outputs a later step can still read: {component id: {out port: content}}."""


@dataclass(frozen=True, slots=True)
class Message:
    """One delivery to one component.

    `kind` says by which door it comes in: `port` (a link), `webhook`, `timeout`,
    `signal`, `tick`, or `start` (kept back until all start hooks have run).
    `port` is the in port for kind `port`, else the kind's own name.
    `attempt` counts from 0. `created` is in epoch milliseconds, set by the publisher.
    `extra` holds what only one kind needs (timeoutId, the fire of several ports …).
    """

    id: str
    flow_id: str
    run: int
    revision: int
    component_id: str
    correlation_id: str
    port: str
    content: Any
    scope: Scope
    created: int
    kind: Kind = "port"
    sender_id: str | None = None
    sender_port: str | None = None
    attempt: int = 0
    depth: int = 0
    extra: dict[str, Any] = field(default_factory=dict)


_INHERITED = (REPLAY_OF, CALL, ANSWERED)


def inherited(message: Message) -> dict[str, Any]:
    """What of `extra` goes on to the messages it causes."""
    extra = message.extra
    return {key: extra[key] for key in _INHERITED if key in extra} if extra else {}


def call_of(message: Message) -> str:
    """Which of an execution's calls caused it: the id of the call's message."""
    extra = message.extra
    call: str = extra.get(CALL, message.correlation_id) if extra else message.correlation_id
    return call


def encode(message: Message) -> bytes:
    """The stored form: a JSON array in a fixed order, its first item the format number.

    Raises TypeError when the content holds something that is not JSON.
    """
    m = message
    return orjson.dumps(
        (
            FORMAT, m.id, m.flow_id, m.run, m.revision, m.component_id, m.correlation_id, m.port, m.content,
            m.scope, m.created, m.kind, m.sender_id, m.sender_port, m.attempt, m.depth, m.extra,
        ),
        option=orjson.OPT_NON_STR_KEYS,
    )  # fmt: skip


def content_json(value: Any) -> bytes:
    """JSON text of what a message is to carry.

    Raises TypeError when it is not JSON, or nested so deeply that nothing could be wrapped around it any more
    (a message, its scope and the records of it add some levels).
    """
    data = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    if data.count(b"[") + data.count(b"{") > DEEPEST - ROOM:  # few brackets cannot nest deeply: look no closer
        for _ in range(ROOM):
            value = [value]
        orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    return data


def decode(data: bytes) -> Message:
    version, *rest = orjson.loads(data)
    if version != FORMAT:
        raise ValueError(f"message format {version} is not known to this release")
    return Message(*rest)


def new_id(now_ms: int | None = None) -> str:
    """A UUID whose first 48 bits are the time (version 7), so that indexes grow at their end.

    The 12 bits after the version are zero: they count the hops of ids derived from it.
    """
    ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    return _version_7(ms, os.urandom(8).hex())


def first_id(ms: int, *parts: object) -> str:
    """As `new_id`, but the same for the same time and parts."""
    return _version_7(ms, hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).hexdigest())


def earliest_id(ms: int) -> str:
    """Less than every id made at `ms` or later, and greater than those made before."""
    head = f"{ms:012x}"
    return f"{head[:8]}-{head[8:]}"


def _version_7(ms: int, tail: str) -> str:
    return f"{earliest_id(ms)}-7000-9{tail[:3]}-{tail[3:15]}"


def made_at(id: str) -> int:
    """The epoch ms in an id made by `new_id` or derived from one; anything at all, or 0, for another text."""
    try:
        return int(id[:8] + id[9:13], 16)
    except ValueError:
        return 0


def derived_id(parent_id: str, *parts: object) -> str:
    """The id of what `parent_id` causes at the place `parts` names (design.md §4.5).

    The same cause and place always give the same id, so a redelivery repeats ids instead of making
    new ones. The time bits are the parent's and the hop bits count up: the ids of one execution lie
    together and sort in the order of its steps.
    """
    tail = hashlib.blake2b("\x1f".join((parent_id, *map(str, parts))).encode(), digest_size=8).hexdigest()
    try:
        hop = min(int(parent_id[15:18], 16) + 1, 0xFFF)
    except ValueError:
        return f"00000000-0000-8001-9{tail[:3]}-{tail[3:15]}"
    return f"{parent_id[:13]}-8{hop:03x}-9{tail[:3]}-{tail[3:15]}"
