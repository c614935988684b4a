"""Encodings and digests. Text is UTF-8 on the way to bytes, and back."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from urllib.parse import quote, unquote

from engine.values.convert import Unfit
from engine.values.registry import Argument, Example, modifier

_DIGESTS = ("md5", "sha1", "sha256", "sha384", "sha512")


def _decoded(data: bytes, kind: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Unfit(f"the {kind} text holds bytes that are not UTF-8 text") from error


@modifier(
    "g_base64Encode", "Base64 encode", "encoding", "The text in Base64.", returns="string", input="string",
    examples=[Example("tea", [], "dGVh"), Example("ř", [], "xZk=")],
)  # fmt: skip
def base64_encode(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


@modifier(
    "g_base64Decode", "Base64 decode", "encoding", "The text that is written in Base64, plain or URL-safe.",
    returns="string", input="string", examples=[Example("dGVh", [], "tea"), Example("xZk", [], "ř")],
)  # fmt: skip
def base64_decode(value: str) -> str:
    text = "".join(value.split()).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unfit("the value must be Base64 text") from error
    return _decoded(data, "Base64")


@modifier(
    "g_hexEncode", "Hex encode", "encoding", "The text in hexadecimal digits.", returns="string", input="string",
    examples=[Example("tea", [], "746561"), Example("ř", [], "c599")],
)  # fmt: skip
def hex_encode(value: str) -> str:
    return value.encode().hex()


@modifier(
    "g_hexDecode", "Hex decode", "encoding", "The text that is written in hexadecimal digits.", returns="string",
    input="string", examples=[Example("746561", [], "tea"), Example("C599", [], "ř")],
)  # fmt: skip
def hex_decode(value: str) -> str:
    try:
        data = bytes.fromhex(value)
    except ValueError as error:
        raise Unfit("the value must be hexadecimal digits, two for each byte") from error
    return _decoded(data, "hexadecimal")


@modifier(
    "g_urlEncode", "URL encode", "encoding", "The text so that it can be part of a URL.", returns="string",
    input="string", examples=[Example("a b&c", [], "a%20b%26c"), Example("ř", [], "%C5%99")],
)  # fmt: skip
def url_encode(value: str) -> str:
    return quote(value, safe="!'()*")  # what encodeURIComponent of JavaScript leaves as it is


@modifier(
    "g_urlDecode", "URL decode", "encoding", "The text that was written to be part of a URL.", returns="string",
    input="string", examples=[Example("a%20b", [], "a b"), Example("100%", [], "100%")],
)  # fmt: skip
def url_decode(value: str) -> str:
    return unquote(value)


@modifier(
    "g_md5", "MD5", "encoding", "The MD5 digest, in hexadecimal digits.", returns="string", input="string",
    examples=[
        Example("", [], "d41d8cd98f00b204e9800998ecf8427e"),
        Example("a", [], "0cc175b9c0f1b6a831c399e269772661"),
    ],
)  # fmt: skip
def md5(value: str) -> str:
    return hashlib.md5(value.encode(), usedforsecurity=False).hexdigest()


@modifier(
    "g_sha1", "SHA-1", "encoding", "The SHA-1 digest, in hexadecimal digits.", returns="string", input="string",
    examples=[
        Example("", [], "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        Example("a", [], "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"),
    ],
)  # fmt: skip
def sha1(value: str) -> str:
    return hashlib.sha1(value.encode(), usedforsecurity=False).hexdigest()


@modifier(
    "g_sha256", "SHA-256", "encoding", "The SHA-256 digest, in hexadecimal digits.", returns="string", input="string",
    examples=[
        Example("", [], "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        Example("a", [], "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"),
    ],
)  # fmt: skip
def sha256(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


@modifier(
    "g_sha512", "SHA-512", "encoding", "The SHA-512 digest, in hexadecimal digits.", returns="string", input="string",
    examples=[
        Example(
            "", [],
            "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
            "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
        ),
        Example(
            "a", [],
            "1f40fc92da241694750979ee6cf582f2d5d7d28e18335de05abc54d0560e0f53"
            "02860c652bf08d560252aa5e74210546f369fbbbce8c12cfc7957b2652fe9a75",
        ),
    ],
)  # fmt: skip
def sha512(value: str) -> str:
    return hashlib.sha512(value.encode()).hexdigest()


@modifier(
    "g_hmac", "HMAC", "encoding", "The HMAC signature of the text.",
    Argument("key", "string", "the secret key"),
    Argument("algorithm", "string", "md5, sha1, sha256, sha384 or sha512", default="sha256"),
    Argument("encoding", "string", "hex or base64", default="hex"),
    returns="string", input="string",
    examples=[
        Example("a", ["k", "md5"], "ddcf3d210049e7135f61affae73731cd"),
        Example("a", ["k", "sha1", "base64"], "QOfUQcrbF7B/BQNBqiOmgg7YHIs="),
    ],
)  # fmt: skip
def hmac_(value: str, key: str, algorithm: str, encoding: str) -> str:
    name = algorithm.lower().replace("-", "")
    if name not in _DIGESTS:
        raise Unfit(f'argument "algorithm" must be one of {", ".join(_DIGESTS)}, not "{algorithm}"')
    digest = hmac.new(key.encode(), value.encode(), name).digest()
    match encoding.lower():
        case "hex":
            return digest.hex()
        case "base64":
            return base64.b64encode(digest).decode()
    raise Unfit(f'argument "encoding" must be hex or base64, not "{encoding}"')
