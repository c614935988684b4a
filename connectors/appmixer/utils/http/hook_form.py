"""The settings that all webhook triggers have: who may call, and how calls are taken (docs/webhooks.md).

The manifests list the same properties; a test compares them with this form.
"""

from __future__ import annotations

from typing import Any


def _field(type: str, label: str, tooltip: str, checks: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    when = {"when": {"in": {"./check": list(checks)}}} if checks else {}
    return {"type": type, "label": label, "tooltip": tooltip, **when, **more}


def _select(label: str, tooltip: str, options: dict[str, str], checks: tuple[str, ...] = ()) -> dict[str, Any]:
    listed = [{"label": text, "value": value} for value, text in options.items()]
    return _field("select", label, tooltip, checks, options=listed, defaultValue=next(iter(options)))


FORM: dict[str, dict[str, Any]] = {
    "check": _select(
        "Check of callers",
        "Calls that fail the check are answered 401, and nothing runs.",
        {
            "none": "None: anybody who knows the address",
            "header": "Secret in a header",
            "basic": "User name and password",
            "jwt": "Signed token (JWT)",
            "hmac": "Signature of the body (HMAC)",
        },
    ),
    "checkHeader": _field(
        "text",
        "Header",
        "Where the secret, token or signature is. Without a name: X-Api-Key, Authorization or X-Signature.",
        ("header", "jwt", "hmac"),
    ),
    "checkUser": _field("text", "User name", "As the caller sends it.", ("basic",)),
    "checkSecret": _field(
        "password",
        "Secret",
        "The value of the header, the password, or the key that signs. Not shown in the run log.",
        ("header", "basic", "jwt", "hmac"),
    ),
    "checkAlgorithm": _select(
        "Algorithm",
        "HS256 needs the secret, RS256 the public key.",
        {"HS256": "HS256 (shared secret)", "RS256": "RS256 (public key)"},
        ("jwt",),
    ),
    "checkPublicKey": _field("textarea", "Public key", "RSA public key or certificate, as PEM text.", ("jwt",)),
    "checkAudience": _field("text", "Audience", "If given, the token must be meant for it (aud).", ("jwt",)),
    "checkIssuer": _field("text", "Issuer", "If given, the token must come from it (iss).", ("jwt",)),
    "checkHash": _select(
        "Hash",
        "How the sender makes the signature.",
        {"sha256": "SHA-256", "sha1": "SHA-1", "sha512": "SHA-512"},
        ("hmac",),
    ),
    "checkEncoding": _select(
        "Spelling of the signature", "As the header holds it.", {"hex": "Hexadecimal", "base64": "Base64"}, ("hmac",)
    ),
    "checkPrefix": _field(
        "text", "Prefix", "What stands before the signature: <code>sha256=</code>, <code>v1=</code> …", ("hmac",)
    ),
    "checkSecretEncoding": _select(
        "Spelling of the secret",
        "Base64 where the sender says so; a <code>whsec_</code> before it is left out.",
        {"text": "As it is", "base64": "Base64"},
        ("hmac",),
    ),
    "checkTimestampHeader": _field(
        "text",
        "Time header",
        "Header with the time of the call. Old calls are then refused. "
        "The header of the signature itself, if the time is in it as <code>t=…</code>.",
        ("hmac",),
    ),
    "checkTolerance": _field(
        "number", "Tolerance", "Seconds that time may be off the clock here.", ("hmac",), defaultValue=300
    ),
    "checkSigned": _field(
        "text",
        "Signed text",
        "What is signed. Without it: <code>{body}</code>, or with a time header <code>{timestamp}.{body}</code>. "
        "Other headers by their name: <code>{webhook-id}</code>.",
        ("hmac",),
    ),
    "deduplicate": _select(
        "Repeated calls",
        "A repeated call gets the answer of the first one for 24 hours, and nothing runs.",
        {"header": "Told by a header", "field": "Told by a field of the body", "none": "All calls run"},
    ),
    "deduplicateBy": _field(
        "text",
        "Header or field",
        "Name of the header (without it: Idempotency-Key), or path of the field, such as <code>event.id</code>.",
        when={"in": {"./deduplicate": ["header", "field"]}},
    ),
    "rawBody": _select(
        "Raw body",
        "Hand the body on as it came, besides the data read from it.",
        {"none": "Not needed", "text": "As text", "base64": "As base64"},
    ),
    "allowedOrigins": _field(
        "text",
        "Web pages that may call",
        "Origins of pages whose scripts may call, by comma, such as <code>https://shop.example.com</code>; "
        "<code>*</code> for all.",
    ),
}  # fmt: skip


def form(first: int) -> dict[str, dict[str, Any]]:
    """The fields in order, the first one at place `first`."""
    return {name: {**field, "index": first + n} for n, (name, field) in enumerate(FORM.items())}


def schema(name: str) -> dict[str, Any]:
    """The JSON schema of one of the properties."""
    kind = {"number": {"type": "number"}, "password": {"type": "string", "format": "password"}}
    return kind.get(FORM[name]["type"], {"type": "string"})
