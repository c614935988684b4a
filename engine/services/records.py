"""Records of the run log and documents of unprocessed messages (engine.md §5, rest-api.md §7)."""

from __future__ import annotations

import base64
import traceback
from typing import Any

import orjson

from engine.compiler import Step
from engine.errors import HeadraceError
from engine.model.message import REPLAY_OF, Message, content_json, derived_id, encode
from engine.model.times import iso
from engine.ports import Doc, Write
from engine.rules.links import ERROR_PORT
from engine.rules.masking import MASK, Logging, hide
from engine.rules.retry import error_code

LONGEST = 64 * 1024
"""Characters of a content kept in a log record."""


def as_text(value: Any) -> str:
    """JSON text of what is JSON; a description of what is not."""
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError as error:
        return orjson.dumps(f"(not JSON: {error})").decode()


def record(message: Message, step: Step, n: object, now: int, text: str, port_type: str, port: str) -> Doc:
    """One line of the run log: `n` tells the records of one call apart (design.md §4.5).

    `text` is masked, and left out when the flow keeps no contents; `masked` tells that it is not what was sent.
    """
    logging = step.logging
    if not logging.keep and port_type in ("in", "out") and not (logging.keep_failed and port == ERROR_PORT):
        text = ""
    shown = logging.text(text)
    doc = {
        "id": f"{message.id}.{message.attempt}.{n}",
        "created": now,
        "severity": "info",
        "type": "data",
        "componentType": step.type,
        "componentId": step.id,
        "portType": port_type,
        "port": port,
        "senderId": message.sender_id if port_type == "in" else step.id,
        "correlationId": message.correlation_id,
        "flowId": message.flow_id,
        "msg": shown,
    }
    again = bool(message.extra) and REPLAY_OF in message.extra
    if shown is not text or (again and MASK in text):  # a replay may have been given the mask for the secret
        doc["masked"] = True
    if len(shown) > LONGEST:
        doc["msg"] = shown[:LONGEST]
        doc["cut"] = len(shown)
    if again:
        doc[REPLAY_OF] = message.extra[REPLAY_OF]
    return doc


def not_sent(step: Step, status: int) -> str:
    """What the run log tells of an answer to a call that was answered before."""
    return f"{step.label}: the call was answered already: a further answer with status {status} was not sent"


def describe(error: BaseException, step: Step | None = None, inputs: Any = None) -> dict[str, Any]:
    """An error as people and programs see it: no local paths, and a stack only of what was not expected.

    With its step, secrets are masked: by the names of their fields, and the values such fields of `inputs` hold.
    """
    described = _described(error)
    if step is None:
        return described
    logging = step.logging
    secrets = logging.masker.secrets(inputs)
    return {key: _without(value, logging, secrets) for key, value in described.items()}


def _without(value: Any, logging: Logging, secrets: set[str]) -> Any:
    if isinstance(value, str):
        return hide(logging.text(value), secrets)
    text = as_text(value)
    masked = hide(logging.text(text), secrets)
    return value if masked == text else orjson.loads(masked)


def _described(error: BaseException) -> dict[str, Any]:
    described: dict[str, Any] = {
        "message": _plain(error.message if isinstance(error, HeadraceError) else f"{type(error).__name__}: {error}"),
        "code": _plain(error_code(error)),
        "name": type(error).__name__,
    }
    if isinstance(error, HeadraceError):
        if error.details:
            described["details"] = orjson.loads(as_text(error.details))
    else:
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        described["stack"] = [f"{f.filename.rsplit('/', 1)[-1]}:{f.lineno} in {f.name}" for f in frames]
    return described


def _plain(text: object) -> str:
    """Text that can be stored: a connector's may hold half of a surrogate pair, or be no text at all."""
    return str(text).encode("utf-8", "replace").decode()


def failure(message: Message, step: Step, now: int, error: dict[str, Any], inputs: Any) -> Doc:
    """The log record of a failed try; `inputs` is {port: content} as far as it was known."""
    doc = record(message, step, "e", now, "", "in", message.port)
    logging = step.logging
    text = logging.text(as_text(inputs)) if logging.keep_failed else "{}"
    return {
        **doc,
        "severity": "error",
        "msg": error["message"],
        "err": as_text(error),
        "inputMessages": text if len(text) <= LONGEST else text[:LONGEST],
    }


def unprocessed(message: Message, user_id: str, now: int, error: dict[str, Any], content: Any) -> Write:
    """The write that keeps a message which cannot be delivered, with all that a retry by hand needs."""
    key = derived_id(message.id, "unprocessed")
    doc = {
        "_id": key,
        "messageId": message.id,
        "flowId": message.flow_id,
        "componentId": message.component_id,
        "userId": user_id,
        "correlationId": message.correlation_id,
        "created": now,
        "err": as_text(error),
    }
    try:
        shown = {message.port: [_shown(message, content)]}
        content_json(shown)
        doc |= {"message": base64.b64encode(encode(message)).decode(), "messages": shown}
    except TypeError:  # nothing so deeply nested can be stored: the reason is all that is kept
        doc["messages"] = {}
    return Write("unprocessed", key, doc)


def _shown(message: Message, content: Any) -> Doc:
    """As the API tells a message (engine.md §5)."""
    return {
        "properties": {
            "messageId": message.id,
            "correlationId": message.correlation_id,
            "flowId": message.flow_id,
            "flowRunId": message.run,
            "gridInstanceId": None,
            "contentType": "application/json",
            "contentEncoding": "utf8",
            "sender": {"componentId": message.sender_id, "outputPort": message.sender_port},
            "destination": {"componentId": message.component_id, "inputPort": message.port},
            "correlationInPort": None,
            "componentHeaders": {},
            "created": iso(message.created),
        },
        "content": _short(content),
        "scope": {cid: {port: _short(value) for port, value in ports.items()} for cid, ports in message.scope.items()},
        "originalContent": _short(message.content),
    }


def _short(value: Any) -> Any:
    size = len(as_text(value))
    return value if size <= LONGEST else f"(too long to be shown: {size} characters of JSON; kept to be tried again)"
