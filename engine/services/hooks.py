"""Calls of a component's hooks."""

from __future__ import annotations

import threading
from collections.abc import Callable

from engine.compiler import Step
from engine.errors import StepError
from engine.model.message import Message, content_json
from engine.sdk import Component, Context
from engine.services.outcome import CallResult


def call(message: Message, behaviour: Component, context: Context) -> None:
    """The hook that a message is for."""
    if message.kind == "tick":
        behaviour.tick(context)
    elif message.kind == "signal":
        behaviour.signal(context)
    else:
        behaviour.receive(context)


def check(step: Step, result: CallResult) -> None:
    """Raises StepError when the settlement could not hold what a connector asked for."""
    try:
        content_json(result.to_json())
    except TypeError as error:
        text = f"{step.type} asked for something that is not JSON: {error}"
        raise StepError(text, code="NOT_JSON", retryable=False) from error


def within(seconds: float, work: Callable[[], object], name: str) -> None:
    """Do `work` on a thread of its own, and give it up when it takes longer; its thread then goes on for nothing.

    Raises StepError for that, naming `name`, and when the work tries to end the process; else what it raises.
    """
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed over to the caller
            raised.append(error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise StepError(f"the {name} took longer than {seconds:g} seconds and was given up", code="HOOK_TIMEOUT")
    if raised and isinstance(raised[0], Exception):
        raise raised[0]
    if raised:
        raise StepError(f"the {name} ended with {type(raised[0]).__name__}", code="HOOK_FAILED") from raised[0]
