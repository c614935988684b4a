"""Who may call a webhook: the checks of one call, without any I/O.

A check is called with the headers (names in lower case), the raw body in pieces, and the time. It
returns what it has learnt about the caller, and raises Unauthorized with a message for the
sender's people: it says what is wrong, never what would be right. Whatever a caller could learn from the
time a comparison takes is compared in constant time.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jwt

from engine.errors import Unauthorized, Unavailable
from engine.model.times import from_iso

JWT_LEEWAY = 30
"""Seconds by which clocks may differ when a token's times are looked at."""

CANDIDATES = 10
"""Signatures tried in one header: senders put several there while they change their secret."""

_PLACE = re.compile(r"\{([A-Za-z0-9-]+)\}")
_MS_FROM = 100_000_000_000  # a number of seconds so large would be in the year 5138
_LATEST = 10**15


class Check(Protocol):
    """`reads_body`: the body must be given. `hides`: headers that hold the secret; a flow does not get them.

    `challenge` is the value of the header WWW-Authenticate of a refusal, "" for none.
    """

    @property
    def reads_body(self) -> bool: ...
    @property
    def hides(self) -> tuple[str, ...]: ...
    @property
    def challenge(self) -> str: ...
    def __call__(self, headers: Mapping[str, str], body: Iterable[bytes], now_ms: int) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Broken:
    """Stands where a check is set up wrongly: nobody gets in until that is mended."""

    message: str
    reads_body: bool = False
    hides: tuple[str, ...] = ()
    challenge: str = ""

    def __call__(self, headers: Mapping[str, str], body: Iterable[bytes], now_ms: int) -> Mapping[str, Any]:
        raise Unavailable(f"this webhook cannot check its callers: {self.message}", code="WEBHOOK_CHECK_BROKEN")


@dataclass(frozen=True, slots=True)
class HeaderCheck:
    """A header with a secret in it."""

    header: str
    secret: bytes
    reads_body: bool = False
    challenge: str = ""

    @property
    def hides(self) -> tuple[str, ...]:
        return (self.header,)

    def __call__(self, headers: Mapping[str, str], body: Iterable[bytes], now_ms: int) -> Mapping[str, Any]:
        given = _given(headers, self.header)
        if not hmac.compare_digest(_bytes(given), self.secret):
            raise Unauthorized(f"the header {self.header} does not hold the secret of this webhook")
        return {}


@dataclass(frozen=True, slots=True)
class BasicCheck:
    """HTTP basic authentication; `credentials` is "user:password" in UTF-8."""

    credentials: bytes
    reads_body: bool = False
    hides: tuple[str, ...] = ("authorization",)
    challenge: str = 'Basic realm="webhook", charset="UTF-8"'

    def __call__(self, headers: Mapping[str, str], body: Iterable[bytes], now_ms: int) -> Mapping[str, Any]:
        scheme, _, encoded = _given(headers, "authorization").partition(" ")
        try:
            given = base64.b64decode(encoded.strip(), validate=True) if scheme.lower() == "basic" else b""
        except (binascii.Error, ValueError):
            given = b""
        if not hmac.compare_digest(given, self.credentials):
            raise Unauthorized("user name or password of this webhook is wrong")
        return {}


@dataclass(frozen=True, slots=True)
class JwtCheck:
    """A signed token in a header, with or without "Bearer " before it. Its claims are what is learnt."""

    header: str
    algorithm: str
    key: Any
    audience: str = ""
    issuer: str = ""
    reads_body: bool = False
    challenge: str = "Bearer"

    @property
    def hides(self) -> tuple[str, ...]:
        return (self.header,)

    def __call__(self, headers: Mapping[str, str], body: Iterable[bytes], now_ms: int) -> Mapping[str, Any]:
        given = _given(headers, self.header)
        scheme, _, rest = given.partition(" ")
        token = rest.strip() if scheme.lower() == "bearer" else given
        try:
            claims = jwt.decode(
                token,
                self.key,
                algorithms=[self.algorithm],
                audience=self.audience or None,
                issuer=self.issuer or None,
                # times are looked at below, by the platform's clock
                options={
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_aud": bool(self.audience),
                },
            )
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise Unauthorized(f"the token in the header {self.header} is refused: {error}") from error
        now = now_ms / 1000
        if not _number(claims.get("exp"), now) >= now - JWT_LEEWAY:  # not "<": NaN is refused
            raise Unauthorized(f"the token in the header {self.header} has expired")
        if not _number(claims.get("nbf"), now) <= now + JWT_LEEWAY:
            raise Unauthorized(f"the token in the header {self.header} is not valid yet")
        return {"claims": claims}


@dataclass(frozen=True, slots=True)
class HmacCheck:
    """A signature over the raw body.

    `before` and `after` is what is signed around the body, with {timestamp} and {names of headers} in
    them. `tolerance` (seconds) bounds the time stamp, which is then part of what is signed.
    """

    header: str
    secret: bytes
    hash: str = "sha256"
    encoding: str = "hex"
    prefix: str = ""
    timestamp_header: str = ""
    tolerance: int = 300
    before: str = ""
    after: str = ""
    reads_body: bool = True
    hides: tuple[str, ...] = ()
    challenge: str = ""

    def __call__(self, headers: Mapping[str, str], body: Iterable[bytes], now_ms: int) -> Mapping[str, Any]:
        given = _given(headers, self.header)
        stamp = self._timestamp(headers, now_ms) if self.timestamp_header else ""
        digest = hmac.new(self.secret, self._around(self.before, headers, stamp), self.hash)
        for piece in body:
            digest.update(piece)
        digest.update(self._around(self.after, headers, stamp))
        expected = (digest.hexdigest() if self.encoding == "hex" else _base64(digest.digest())).encode()
        fits = False
        for candidate in self._candidates(given):
            fits |= hmac.compare_digest(candidate, expected)
        if not fits:
            raise Unauthorized(f"the signature in the header {self.header} does not fit the body")
        return {}

    def _candidates(self, given: str) -> list[bytes]:
        """The signatures in a header, spelt as ours: `sha256=ab12`, `t=1,v1=ab12,v1=cd34`, `v1,ab= v1,cd=`."""
        parts = re.split(r"\s+" if "," in self.prefix else r"[\s,]+", given)
        found = [part[len(self.prefix) :] for part in parts if part.startswith(self.prefix)][:CANDIDATES]
        if self.encoding == "hex":
            return [_bytes(text.lower()) for text in found]
        return [_bytes(text.translate(_STANDARD).rstrip("=")) for text in found]

    def _timestamp(self, headers: Mapping[str, str], now_ms: int) -> str:
        text = _given(headers, self.timestamp_header)
        if self.timestamp_header == self.header:
            text = next((part[2:] for part in re.split(r"[\s,]+", text) if part.startswith("t=")), "")
        at = _milliseconds(text)
        if at is None:
            raise Unauthorized(f"the header {self.timestamp_header} holds no time")
        if abs(now_ms - at) > self.tolerance * 1000:
            raise Unauthorized(
                f"the time in the header {self.timestamp_header} is more than {self.tolerance} seconds "
                f"from the server's: {round((at - now_ms) / 1000)} seconds"
            )
        return text

    def _around(self, template: str, headers: Mapping[str, str], stamp: str) -> bytes:
        def value(match: re.Match[str]) -> str:
            return stamp if match[1] == "timestamp" else _given(headers, match[1].lower())

        return _bytes(_PLACE.sub(value, template))


_STANDARD = str.maketrans("-_", "+/")


def _given(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise Unauthorized(f"the header {name} is missing")
    return value


def _bytes(text: str) -> bytes:
    """As it came over the wire: a header's characters are bytes (WSGI); settings are UTF-8."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode().rstrip("=")


def _number(value: Any, default: float) -> float:
    """A time claim. One that is no number is as good as a wrong one: never valid."""
    if value is None:
        return default
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if abs(value) < _LATEST else float("nan")
    return float("nan")


def _milliseconds(text: str) -> int | None:
    """Seconds or milliseconds since 1970, or ISO 8601."""
    if re.fullmatch(r"\d{1,16}(\.\d{1,9})?", text, re.ASCII):
        number = float(text)
        return round(number if number >= _MS_FROM else number * 1000)
    try:
        return from_iso(text) if len(text) <= 40 else None
    except (ValueError, OverflowError):
        return None
