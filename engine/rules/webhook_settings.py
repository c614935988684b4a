"""The settings of a webhook trigger, read once per flow revision from the step's properties.

A component whose manifest says `webhookSettings` has these properties (docs/webhooks.md): `check` with
what belongs to it, `rawBody`, `allowedOrigins`, `deduplicate`, `deduplicateBy`. The forms of the
built-in triggers show them; what they mean is decided here.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from engine.errors import BadRequest
from engine.rules.webhook_checks import BasicCheck, Broken, Check, HeaderCheck, HmacCheck, JwtCheck

CHECKS = ("none", "header", "basic", "jwt", "hmac")
HASHES = ("sha256", "sha1", "sha512")
ANY_ORIGIN = "*"
TOLERANCE = 300
TOKEN_KEY_BYTES = 32
IDEMPOTENCY_HEADER = "idempotency-key"

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#,]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """`raw`: how the raw body is handed to the flow: "" (not), "text" or "base64".

    `origins`: the web origins whose scripts may call, or "*". A call is a repetition of an earlier one when
    the header `key_header`, or the field at the dotted path `key_path` of its data, is the same; "" for neither.
    """

    check: Check | None = None
    raw: str = ""
    origins: frozenset[str] = frozenset()
    key_header: str = IDEMPOTENCY_HEADER
    key_path: str = ""


DEFAULT = WebhookSettings()


def read_settings(properties: Mapping[str, Any]) -> WebhookSettings:
    """Raises BadRequest whose `details` name each wrong property: `[{path, message}]`."""
    fields = _Fields(properties)
    key_header, key_path = _key(fields)
    settings = WebhookSettings(
        check=_check(fields),
        raw=fields.choice("rawBody", ("none", "text", "base64")).replace("none", ""),
        origins=_origins(fields),
        key_header=key_header,
        key_path=key_path,
    )
    fields.raise_problems()
    return DEFAULT if settings == DEFAULT else settings


def settings_or_broken(properties: Mapping[str, Any]) -> WebhookSettings:
    """As `read_settings`; with wrong settings nobody gets in, and the refusal says what is wrong."""
    try:
        return read_settings(properties)
    except BadRequest as error:
        return WebhookSettings(check=Broken(error.message))


class _Fields:
    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given
        self._problems: list[dict[str, str]] = []

    def wrong(self, name: str, message: str) -> None:
        self._problems.append({"path": name, "message": message})

    def raise_problems(self) -> None:
        if self._problems:
            first = self._problems[0]
            raise BadRequest(f"{first['path']} {first['message']}", details=list(self._problems))

    def text(self, name: str, default: str = "") -> str:
        value = self._given.get(name)
        if value is None or value == "":
            return default
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return str(value)
        self.wrong(name, "must be text")
        return default

    def needed(self, name: str) -> str:
        text = self.text(name)
        if not text:
            self.wrong(name, "is missing")
        return text

    def choice(self, name: str, options: tuple[str, ...]) -> str:
        """One of `options`; the first when nothing was chosen."""
        text = self.text(name, options[0])
        if text not in options:
            self.wrong(name, f"must be one of {', '.join(options)}, not {text!r}")
            return options[0]
        return text

    def header(self, name: str, default: str = "") -> str:
        """The name of a header, in lower case."""
        text = self.text(name, default).strip()
        if text and not _NAME.fullmatch(text):
            self.wrong(name, f"must be the name of a header, such as X-Signature, not {text!r}")
            return default.lower()
        return text.lower()


def _check(fields: _Fields) -> Check | None:
    kind = fields.choice("check", CHECKS)
    if kind == "header":
        return HeaderCheck(fields.header("checkHeader", "X-Api-Key"), fields.needed("checkSecret").encode())
    if kind == "basic":
        user = fields.text("checkUser")
        if ":" in user:
            fields.wrong("checkUser", "must not have a colon in it")
        return BasicCheck(f"{user}:{fields.needed('checkSecret')}".encode())
    if kind == "jwt":
        return _jwt(fields)
    return _hmac(fields) if kind == "hmac" else None


def _jwt(fields: _Fields) -> JwtCheck:
    algorithm = fields.choice("checkAlgorithm", ("HS256", "RS256"))
    key = _public_key(fields) if algorithm == "RS256" else _token_key(fields)
    return JwtCheck(
        header=fields.header("checkHeader", "Authorization"),
        algorithm=algorithm,
        key=key,
        audience=fields.text("checkAudience"),
        issuer=fields.text("checkIssuer"),
    )


def _token_key(fields: _Fields) -> bytes:
    """RFC 7518 §3.2: a shorter key can be guessed from a single token."""
    key = fields.needed("checkSecret").encode()
    if 0 < len(key) < TOKEN_KEY_BYTES:
        fields.wrong("checkSecret", f"must have {TOKEN_KEY_BYTES} characters or more to sign tokens with HS256")
    return key


def _public_key(fields: _Fields) -> RSAPublicKey | None:
    text = fields.needed("checkPublicKey")
    if not text:
        return None
    try:
        pem = text.strip().encode()
        certified = b"BEGIN CERTIFICATE" in pem
        key = x509.load_pem_x509_certificate(pem).public_key() if certified else load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if isinstance(key, RSAPublicKey) and key.key_size >= 2048:
        return key
    fields.wrong("checkPublicKey", "must be an RSA public key or certificate of 2048 bits or more, as PEM text")
    return None


def _hmac(fields: _Fields) -> HmacCheck:
    stamp = fields.header("checkTimestampHeader")
    signed = fields.text("checkSigned", "{timestamp}.{body}" if stamp else "{body}")
    before, body, after = signed.partition("{body}")
    if not body or "{body}" in after or not signed.isascii():
        fields.wrong(
            "checkSigned", "must have {body} in it, once, such as {timestamp}.{body}, and plain characters only"
        )
    elif bool(stamp) != ("{timestamp}" in signed):
        # a time nobody has signed can be changed by whoever repeats the call
        fields.wrong("checkSigned", "must have {timestamp} in it exactly when checkTimestampHeader is given")
    return HmacCheck(
        header=fields.header("checkHeader", "X-Signature"),
        secret=_secret(fields),
        hash=fields.choice("checkHash", HASHES),
        encoding=fields.choice("checkEncoding", ("hex", "base64")),
        prefix=fields.text("checkPrefix"),
        timestamp_header=stamp,
        tolerance=_tolerance(fields),
        before=before,
        after=after,
    )


def _secret(fields: _Fields) -> bytes:
    text = fields.needed("checkSecret")
    if fields.choice("checkSecretEncoding", ("text", "base64")) == "text":
        return text.encode()
    try:
        found = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if text and not found:
        fields.wrong("checkSecret", "must be base64, as checkSecretEncoding says")
    return found


def _tolerance(fields: _Fields) -> int:
    text = fields.text("checkTolerance", str(TOLERANCE))
    try:
        seconds = int(float(text))
    except (ValueError, OverflowError):
        seconds = 0
    if not 1 <= seconds <= 86_400:
        fields.wrong("checkTolerance", "must be a number of seconds, 1 to 86400")
        return TOLERANCE
    return seconds


def _origins(fields: _Fields) -> frozenset[str]:
    found = set()
    for part in re.split(r"[\s,]+", fields.text("allowedOrigins")):
        origin = part.rstrip("/").lower()
        if not origin:
            continue
        if origin != ANY_ORIGIN and not _ORIGIN.fullmatch(origin):
            fields.wrong("allowedOrigins", f"must be origins such as https://shop.example.com, or *, not {part!r}")
        found.add(origin)
    return frozenset(found)


def _key(fields: _Fields) -> tuple[str, str]:
    """(header, path): what tells repetitions, one of the two or neither."""
    source = fields.choice("deduplicate", ("header", "field", "none"))
    if source == "header":
        return fields.header("deduplicateBy", IDEMPOTENCY_HEADER), ""
    return "", fields.needed("deduplicateBy") if source == "field" else ""
