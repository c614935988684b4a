from __future__ import annotations

from typing import Any

from connectors.appmixer.utils._kit.convert import as_text
from connectors.appmixer.utils._kit.inputs import base64_bytes
from engine.sdk import Component, Context, StepError


class SaveFile(Component):
    effects = "state"

    def receive(self, context: Context) -> None:
        given = context.messages["in"].content
        content = _bytes(given["content"], given["contentEncoding"])
        record = context.save_file(given["filename"], content, given["mimetype"])
        context.send(record.to_json(), "file")


def _bytes(content: Any, encoding: str) -> bytes:
    """What is no text is saved as JSON text, whatever the encoding."""
    if not isinstance(content, str):
        return as_text(content).encode()
    try:
        if encoding == "base64":
            return base64_bytes(content)
        if encoding == "hex":
            return bytes.fromhex(content)
        return content.encode({"utf8": "utf-8", "utf16le": "utf-16-le", "ascii": "latin-1"}[encoding])
    except KeyError:
        allowed = "ascii, utf8, utf16le, base64 or hex"
        raise StepError(f"contentEncoding: must be {allowed}, not {encoding!r}", retryable=False) from None
    except ValueError as error:
        raise StepError(f"content: cannot be read as {encoding}: {error}", retryable=False) from error
