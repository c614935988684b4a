"""Who gets in by a webhook's check, and who does not (engine/rules/webhook_checks.py, webhook_settings.py)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadRequest, Unauthorized, Unavailable
from engine.rules.webhook_settings import DEFAULT, read_settings, settings_or_broken

NOW = 1_790_000_000_000
BODY = b'{"order": 7, "name": "\xc3\xa4"}'
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC = (
    RSA_KEY.public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode()
)
SECRET = "a shared secret of enough length"


def enter(properties: Mapping[str, Any], headers: Mapping[str, str], body: bytes = BODY, now: int = NOW) -> Any:
    check = read_settings(properties).check
    assert check is not None
    half = len(body) // 2
    return check(headers, iter((body[:half], body[half:])), now)


def refused(properties: Mapping[str, Any], headers: Mapping[str, str], body: bytes = BODY, now: int = NOW) -> str:
    with pytest.raises(Unauthorized) as caught:
        enter(properties, headers, body, now)
    assert SECRET not in caught.value.message
    return caught.value.message


def signature(text: bytes, key: bytes = SECRET.encode(), hash: str = "sha256") -> bytes:
    return hmac.new(key, text, hash).digest()


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


# -- settings


def test_nothing_set_is_open_and_knows_idempotency_keys() -> None:
    assert read_settings({}) == DEFAULT
    assert read_settings({"check": "", "rawBody": None, "allowedOrigins": "", "deduplicate": ""}) == DEFAULT
    assert (DEFAULT.check, DEFAULT.raw, DEFAULT.key_header, DEFAULT.key_path) == (None, "", "idempotency-key", "")


def test_all_other_settings() -> None:
    settings = read_settings(
        {"rawBody": "base64", "allowedOrigins": "https://A.example/, http://b.example:8080", "deduplicate": "none"}
    )
    assert settings.raw == "base64"
    assert settings.origins == {"https://a.example", "http://b.example:8080"}
    assert (settings.key_header, settings.key_path) == ("", "")
    assert read_settings({"deduplicate": "header", "deduplicateBy": "X-Event-Id"}).key_header == "x-event-id"
    assert read_settings({"deduplicate": "field", "deduplicateBy": "event.id"}).key_path == "event.id"
    assert read_settings({"allowedOrigins": "*"}).origins == {"*"}


WRONG = [
    ({"check": "password"}, "check"),
    ({"check": {}}, "check"),
    ({"check": "header"}, "checkSecret"),
    ({"check": "header", "checkSecret": "x", "checkHeader": "X Key"}, "checkHeader"),
    ({"check": "header", "checkSecret": "x", "checkHeader": "X\r\nSet-Cookie"}, "checkHeader"),
    ({"check": "basic", "checkUser": "me"}, "checkSecret"),
    ({"check": "basic", "checkUser": "a:b", "checkSecret": "x"}, "checkUser"),
    ({"check": "jwt"}, "checkSecret"),
    ({"check": "jwt", "checkSecret": "short"}, "checkSecret"),
    ({"check": "jwt", "checkAlgorithm": "none", "checkSecret": "x" * 40}, "checkAlgorithm"),
    ({"check": "jwt", "checkAlgorithm": "RS256", "checkSecret": "x"}, "checkPublicKey"),
    ({"check": "jwt", "checkAlgorithm": "RS256", "checkPublicKey": "not a key"}, "checkPublicKey"),
    ({"check": "hmac"}, "checkSecret"),
    ({"check": "hmac", "checkSecret": "x", "checkHash": "md5"}, "checkHash"),
    ({"check": "hmac", "checkSecret": "x", "checkEncoding": "octal"}, "checkEncoding"),
    ({"check": "hmac", "checkSecret": "?", "checkSecretEncoding": "base64"}, "checkSecret"),
    ({"check": "hmac", "checkSecret": "x", "checkTolerance": "soon"}, "checkTolerance"),
    ({"check": "hmac", "checkSecret": "x", "checkTolerance": 10**9}, "checkTolerance"),
    ({"check": "hmac", "checkSecret": "x", "checkSigned": "{timestamp}"}, "checkSigned"),
    ({"check": "hmac", "checkSecret": "x", "checkSigned": "{body}{body}"}, "checkSigned"),
    ({"check": "hmac", "checkSecret": "x", "checkSigned": "{timestamp}.{body}"}, "checkSigned"),
    ({"check": "hmac", "checkSecret": "x", "checkSigned": "{body}", "checkTimestampHeader": "X-T"}, "checkSigned"),
    ({"rawBody": "bytes"}, "rawBody"),
    ({"allowedOrigins": "shop.example.com"}, "allowedOrigins"),
    ({"allowedOrigins": "https://a.example/path"}, "allowedOrigins"),
    ({"deduplicate": "field"}, "deduplicateBy"),
    ({"deduplicate": "sometimes"}, "deduplicate"),
    ({"deduplicate": "header", "deduplicateBy": "a b"}, "deduplicateBy"),
]


@pytest.mark.parametrize(("properties", "name"), WRONG)
def test_wrong_settings_are_named_and_let_nobody_in(properties: dict[str, Any], name: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_settings(properties)
    assert [problem["path"] for problem in caught.value.details] == [name]
    check = settings_or_broken(properties).check
    assert check is not None
    with pytest.raises(Unavailable, match=name):
        check({}, (), NOW)


@pytest.mark.parametrize("key", [rsa.generate_private_key(65537, 1024), ec.generate_private_key(ec.SECP256R1())])
def test_weak_and_other_keys_are_refused(key: Any) -> None:
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(BadRequest, match="2048"):
        read_settings({"check": "jwt", "checkAlgorithm": "RS256", "checkPublicKey": pem.decode()})


NAMES = ["check", "rawBody", "allowedOrigins", "deduplicate", "deduplicateBy"] + [
    f"check{part}"
    for part in (
        *("Header", "User", "Secret", "Algorithm", "PublicKey", "Hash", "Encoding", "Prefix", "TimestampHeader"),
        *("Tolerance", "Signed", "SecretEncoding"),
    )
]
ANY = st.one_of(
    *(st.none(), st.booleans(), st.floats(), st.text(max_size=12), st.lists(st.integers(), max_size=2)),
    st.sampled_from(["header", "basic", "jwt", "hmac", "base64", "{body}", "field"]),
)


@given(st.dictionaries(st.sampled_from(NAMES), ANY))
def test_any_settings_are_read_or_refused(properties: dict[str, Any]) -> None:
    settings = settings_or_broken(properties)
    if settings.check is not None:
        with pytest.raises((Unauthorized, Unavailable)):
            settings.check({}, (), NOW)


# -- a secret in a header


def test_header() -> None:
    properties = {"check": "header", "checkHeader": "X-Token", "checkSecret": SECRET}
    assert enter(properties, {"x-token": SECRET}) == {}
    assert refused(properties, {"x-token": SECRET + "x"}).startswith("the header x-token does not hold")
    assert refused(properties, {"x-token": ""}) == "the header x-token is missing"
    assert refused(properties, {"x-api-key": SECRET}) == "the header x-token is missing"
    assert refused(properties, {"x-token": f"{SECRET},{SECRET}"})  # sent twice


def test_header_outside_ascii() -> None:
    on_the_wire = "schlüssel".encode().decode("latin-1")
    assert enter({"check": "header", "checkSecret": "schlüssel"}, {"x-api-key": on_the_wire}) == {}


# -- user name and password


def test_basic() -> None:
    properties = {"check": "basic", "checkUser": "me", "checkSecret": "pa:ss wörd"}
    assert enter(properties, basic("me", "pa:ss wörd")) == {}
    for headers in (
        basic("me", "pa:ss"), basic("you", "pa:ss wörd"), {"authorization": "Basic !!!"}, {"authorization": "Basic"},
        {"authorization": "Bearer x"}, {"authorization": "Basic " + "A" * 100_001}, {"authorization": "Basic \xff"},
    ):  # fmt: skip
        assert refused(properties, headers) == "user name or password of this webhook is wrong"
    assert refused(properties, {}) == "the header authorization is missing"


# -- tokens

JWT = {"check": "jwt", "checkSecret": SECRET}
SECONDS = NOW // 1000


def token(claims: dict[str, Any], key: Any = SECRET, algorithm: str = "HS256") -> dict[str, str]:
    return {"authorization": "Bearer " + jwt.encode(claims, key, algorithm)}


def test_tokens_give_their_claims() -> None:
    claims = {"sub": "me", "exp": SECONDS + 60, "nbf": SECONDS - 60, "iat": SECONDS}
    assert enter(JWT, token(claims)) == {"claims": claims}
    assert enter(JWT, token({})) == {"claims": {}}
    bare = {"x-auth": token(claims)["authorization"].removeprefix("Bearer ")}
    assert enter({**JWT, "checkHeader": "X-Auth"}, bare) == {"claims": claims}


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"exp": SECONDS - 31}, "expired"),
        ({"exp": "never"}, "expired"),
        ({"exp": True}, "expired"),
        ({"exp": 10**30}, "expired"),
        ({"nbf": SECONDS + 31}, "not valid yet"),
        ({"nbf": [1]}, "not valid yet"),
    ],
)
def test_tokens_out_of_their_time(claims: dict[str, Any], why: str) -> None:
    assert why in refused(JWT, token(claims))


def test_tokens_by_the_platforms_clock() -> None:
    headers = token({"exp": SECONDS})
    assert enter(JWT, headers, now=NOW + 29_000)
    refused(JWT, headers, now=NOW + 31_000)


def test_audience_and_issuer() -> None:
    properties = {**JWT, "checkAudience": "headrace", "checkIssuer": "shop"}
    assert enter(properties, token({"aud": ["headrace", "x"], "iss": "shop"}))
    for claims in ({"aud": "x", "iss": "shop"}, {"aud": "headrace", "iss": "x"}, {"iss": "shop"}, {"aud": "headrace"}):
        refused(properties, token(claims))
    assert enter(JWT, token({"aud": "anybody"}))


def test_forged_tokens() -> None:
    good = token({"sub": "me"})["authorization"]
    head, payload, signed = good.removeprefix("Bearer ").split(".")
    unsigned = jwt.encode({"sub": "me"}, "", "none")
    for given_token in ("", "x", "a.b.c", f"{head}.{payload}.", f"{head}.{payload}.{signed[:-2]}", unsigned, "é.ü.ß"):
        refused(JWT, {"authorization": f"Bearer {given_token}"})
    refused(JWT, token({"sub": "me"}, key="another secret of enough length!"))
    long = {**JWT, "checkSecret": SECRET * 2}
    assert enter(long, token({"sub": "me"}, key=SECRET * 2))
    refused(long, token({"sub": "me"}, key=SECRET * 2, algorithm="HS384"))


def test_rs256_takes_no_tokens_signed_with_the_public_key() -> None:
    properties = {"check": "jwt", "checkAlgorithm": "RS256", "checkPublicKey": PUBLIC}
    assert enter(properties, token({"sub": "me"}, RSA_KEY, "RS256")) == {"claims": {"sub": "me"}}
    refused(properties, token({"sub": "me"}, rsa.generate_private_key(65537, 2048), "RS256"))
    forged = _unchecked_hs256({"sub": "me"}, PUBLIC.encode())
    refused(properties, {"authorization": f"Bearer {forged}"})


def _unchecked_hs256(claims: dict[str, Any], key: bytes) -> str:
    def part(raw: bytes) -> str:
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    text = f'{part(b"""{"alg":"HS256","typ":"JWT"}""")}.{part(json.dumps(claims).encode())}'
    return f"{text}.{part(hmac.new(key, text.encode(), hashlib.sha256).digest())}"


# -- signatures

HMAC = {"check": "hmac", "checkSecret": SECRET}


def test_signature_as_github_sends_it() -> None:
    properties = {**HMAC, "checkHeader": "X-Hub-Signature-256", "checkPrefix": "sha256="}
    headers = {"x-hub-signature-256": "sha256=" + signature(BODY).hex()}
    assert enter(properties, headers) == {}
    assert "does not fit" in refused(properties, headers, BODY + b" ")
    assert "does not fit" in refused(properties, {"x-hub-signature-256": signature(BODY).hex()})
    assert refused(properties, {}) == "the header x-hub-signature-256 is missing"


def test_signature_as_shopify_sends_it() -> None:
    properties = {**HMAC, "checkHeader": "X-Shopify-Hmac-Sha256", "checkEncoding": "base64"}
    assert enter(properties, {"x-shopify-hmac-sha256": base64.b64encode(signature(BODY)).decode()}) == {}
    refused(properties, {"x-shopify-hmac-sha256": base64.b64encode(signature(b"")).decode()})


def test_signature_as_slack_sends_it() -> None:
    properties = {
        **HMAC, "checkHeader": "X-Slack-Signature", "checkPrefix": "v0=", "checkSigned": "v0:{timestamp}:{body}",
        "checkTimestampHeader": "X-Slack-Request-Timestamp",
    }  # fmt: skip
    signed = "v0=" + signature(b"v0:%d:%s" % (SECONDS, BODY)).hex().upper()
    headers = {"x-slack-signature": signed, "x-slack-request-timestamp": str(SECONDS)}
    assert enter(properties, headers) == {}
    assert enter(properties, headers, now=NOW + 300_000) == {}
    assert "more than 300 seconds" in refused(properties, headers, now=NOW + 301_000)
    assert "more than 300 seconds" in refused(properties, headers, now=NOW - 301_000)
    assert "does not fit" in refused(properties, {**headers, "x-slack-request-timestamp": str(SECONDS + 1)})
    for wrong in ("soon", "1e9", "-1", "1,2", "9" * 40, "\u0661", "2026-13-01T00:00:00Z"):
        assert "holds no time" in refused(properties, {**headers, "x-slack-request-timestamp": wrong})


def test_signature_as_stripe_sends_it() -> None:
    properties = {
        **HMAC, "checkHeader": "Stripe-Signature", "checkPrefix": "v1=", "checkTimestampHeader": "Stripe-Signature",
    }  # fmt: skip
    good = signature(b"%d.%s" % (SECONDS, BODY)).hex()
    assert enter(properties, {"stripe-signature": f"t={SECONDS},v1={'0' * 64},v1={good},v0=zz"}) == {}
    refused(properties, {"stripe-signature": f"t={SECONDS},v0={good}"})
    refused(properties, {"stripe-signature": f"v1={good}"})
    many = ",".join(["v1=00"] * 10)
    refused(properties, {"stripe-signature": f"t={SECONDS},{many},v1={good}"})


def test_signature_of_the_standard_webhooks() -> None:
    key = bytes(range(24))
    properties = {
        "check": "hmac", "checkSecret": "whsec_" + base64.b64encode(key).decode(), "checkSecretEncoding": "base64",
        "checkHeader": "webhook-signature", "checkEncoding": "base64", "checkPrefix": "v1,",
        "checkTimestampHeader": "webhook-timestamp", "checkSigned": "{webhook-id}.{timestamp}.{body}",
    }  # fmt: skip
    signed = base64.b64encode(signature(b"msg_1.%d.%s" % (SECONDS, BODY), key)).decode()
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(SECONDS), "webhook-signature": f"v1,AAAA v1,{signed}"}
    assert enter(properties, headers) == {}
    refused(properties, {**headers, "webhook-id": "msg_2"})
    refused(properties, {k: v for k, v in headers.items() if k != "webhook-id"})


@pytest.mark.parametrize("hash", ["sha1", "sha512"])
def test_other_hashes_and_spellings_of_time(hash: str) -> None:
    properties = {**HMAC, "checkHash": hash, "checkTimestampHeader": "X-Time", "checkSigned": "{timestamp}{body}"}
    for stamp in (str(NOW), f"{SECONDS}.5", "2026-09-21T14:13:20Z"):
        signed = signature(stamp.encode() + BODY, hash=hash).hex()
        assert enter(properties, {"x-signature": signed, "x-time": stamp}) == {}
        refused(properties, {"x-signature": signature(stamp.encode() + BODY).hex(), "x-time": stamp})


@given(st.text(st.characters(max_codepoint=255), max_size=60), st.text(st.characters(max_codepoint=255), max_size=30))
def test_hostile_headers_are_refused_and_never_crash(value: str, second: str) -> None:
    headers = dict.fromkeys(("x-api-key", "authorization", "x-signature"), value) | {"x-time": second}
    timed = {**HMAC, "checkTimestampHeader": "X-Time"}
    for properties in (
        {"check": "header", "checkSecret": SECRET},
        {"check": "basic", "checkSecret": SECRET},
        JWT,
        HMAC,
        timed,
    ):
        refused(properties, headers)
