"""What a step is given: the messages at its in ports, mapped and checked (engine.md §5 "Life of a message")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.compiler import Step
from engine.errors import ValidationFailed
from engine.model.message import Message
from engine.rules.coerce import fit
from engine.sdk import Incoming
from engine.services.fire_patterns import Assembler
from engine.values.template import Frame


def incoming(assembler: Assembler, step: Step, message: Message, frame: Frame) -> Mapping[str, Incoming]:
    """By in port; nothing for a message that waits for others of its fire pattern. Raises ValidationFailed."""
    if message.kind != "port":
        if message.kind in ("webhook", "timeout"):
            return {message.kind: _arrived(message, message.content)}
        return {}
    content = _content(step, message, frame)
    if step.manifest.fire_patterns:
        return assembler.add(step, message, content)
    return {message.port: _arrived(message, content)}


def _content(step: Step, message: Message, frame: Frame) -> Any:
    mapping = step.inputs.get((message.port, message.sender_id or "", message.sender_port or ""))
    content = mapping.evaluate(frame) if mapping is not None else message.content
    check = step.validators.get(message.port)
    if check is not None and not check.is_valid(content):
        port = step.manifest.in_port(message.port)
        content = fit(content, port.schema if port else None)
        wrong = [
            {"path": ".".join(map(str, e.instance_path)), "message": e.message} for e in check.iter_errors(content)
        ]
        if wrong:
            place = f"{wrong[0]['path']}: " if wrong[0]["path"] else ""
            text = f"Validation error on ports: {message.port} ({place}{wrong[0]['message']})"
            raise ValidationFailed(text, details=wrong)
    return content


def _arrived(message: Message, content: Any) -> Incoming:
    return Incoming(
        content,
        message.content,
        message.correlation_id,
        message.scope,
        message.sender_id,
        message.sender_port,
        message.extra.get("timeoutId"),
    )
