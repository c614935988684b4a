"""HTTP requests and answers of the request steps (spec/utils-components.md, "http")."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from email.message import Message
from typing import IO, Any
from urllib.parse import urlsplit, urlunsplit

import orjson

from connectors.appmixer.utils._kit.convert import script_text
from connectors.appmixer.utils._kit.errors import wrong
from connectors.appmixer.utils._kit.urls import is_web_address
from engine.sdk import Context, HttpResponse, StepError

Headers = dict[str, str]

BYTES = (None, "noEncoding")
_CODECS = {"utf8": "utf-8", "utf16le": "utf-16-le", "latin1": "latin-1", "binary": "latin-1"}


def headers_of(value: Any) -> Headers:
    """Headers given as an object or as its JSON text; null ones are left out. Raises StepError."""
    if isinstance(value, str):
        try:
            value = orjson.loads(value) if value.strip() else {}
        except orjson.JSONDecodeError as error:
            raise wrong(f"headers: must be a JSON object: {error}") from error
    if not isinstance(value, Mapping | None):
        raise wrong(f"headers: must be a JSON object, not {value!r}")
    return {name: script_text(text) for name, text in (value or {}).items() if text is not None}


def header(headers: Mapping[str, str], name: str) -> str | None:
    """A header, whatever the case it is written in."""
    return next((text for key, text in headers.items() if key.lower() == name), None)


def with_defaults(headers: Headers, defaults: Mapping[str, str]) -> Headers:
    """The headers, and those defaults that are not among them."""
    return {**{name: text for name, text in defaults.items() if header(headers, name) is None}, **headers}


def send(
    context: Context, method: str, url: str, headers: Headers, body: bytes | IO[bytes] | None, encoding: str | None
) -> dict[str, Any]:
    """Make the call. → {body, headers, request, statusCode}. Raises StepError, also for an answer that is not 2xx."""
    if not is_web_address(url):
        raise wrong(f"url: must be an http or https address, not {url!r}")
    headers = with_defaults(headers, {"accept": "application/json, */*"})
    answer = context.http.request(method, url, headers=headers, body=body)
    shown = _without_login(url)
    content = content_of(answer.body, encoding)
    if not 200 <= answer.status < 300:
        raise _refused(method, shown, answer.status, content)
    return {
        "body": content,
        "headers": _headers_json(answer),
        "request": {"uri": _uri(shown), "method": method, "headers": headers},
        "statusCode": answer.status,
    }


def content_of(body: bytes, encoding: str | None) -> Any:
    """An answer's body: JSON when it is JSON, else text in the wanted form.

    Without an encoding, bytes look as the original platform shows them: {type: "Buffer", data: [number]}.
    """
    if encoding == "base64":
        return base64.b64encode(body).decode()
    if encoding == "hex":
        return body.hex()
    if encoding == "ascii":
        text = bytes(byte & 0x7F for byte in body).decode("ascii")
    else:
        text = body.decode(_CODECS.get(encoding or "utf8", "utf-8"), "replace")
    try:
        return orjson.loads(text.removeprefix("\ufeff"))
    except orjson.JSONDecodeError:
        return {"type": "Buffer", "data": list(body)} if encoding in BYTES else text


def _without_login(url: str) -> str:
    """The address without user and password, which go out as a header but belong in no log."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _refused(method: str, url: str, status: int, content: Any) -> StepError:
    message = content.get("message") if isinstance(content, Mapping) else None
    if not isinstance(message, str) or not message:
        message = f"{method} {url} was answered with status {status}"
    return StepError(message, code=str(status), details=[{"statusCode": status, "body": content}])


def _headers_json(answer: HttpResponse) -> dict[str, Any]:
    """Lower-case names; the content type taken apart as {type, parameters}."""
    headers: dict[str, Any] = {name.lower(): text for name, text in answer.headers.items()}
    if "content-type" in headers:
        parsed = Message()
        parsed["content-type"] = headers["content-type"]
        parameters = dict((parsed.get_params() or [])[1:])
        headers["content-type"] = {"type": parsed.get_content_type(), "parameters": parameters}
    return headers


def _uri(url: str) -> dict[str, Any]:
    """The address taken apart, in the words of Node's `url.parse`."""
    parts = urlsplit(url)
    search = f"?{parts.query}" if parts.query else None
    path = parts.path or "/"
    return {
        "protocol": f"{parts.scheme}:",
        "slashes": True,
        "auth": None,
        "host": parts.netloc,
        "port": str(parts.port) if parts.port else None,
        "hostname": parts.hostname,
        "hash": f"#{parts.fragment}" if parts.fragment else None,
        "search": search,
        "query": parts.query or None,
        "pathname": path,
        "path": path + (search or ""),
        "href": urlunsplit(parts._replace(path=path)),
    }
