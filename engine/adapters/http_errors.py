"""What went wrong on the network, as a StepError with the code that `rules.retry` decides by."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl

from urllib3 import exceptions as urllib3

from engine.errors import StepError

# The first row whose type fits the error, or what caused it, gives code and words. Rows run from special to general.
_TABLE: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str, str], ...] = (
    (urllib3.ConnectTimeoutError, "ETIMEDOUT", "did not accept the connection in time"),
    (urllib3.ReadTimeoutError, "ESOCKETTIMEDOUT", "did not answer in time"),
    (TimeoutError, "ESOCKETTIMEDOUT", "did not answer in time"),
    (urllib3.DecodeError, "EPROTO", "sent a body that its content-encoding does not fit"),
    ((ConnectionResetError, BrokenPipeError, ConnectionAbortedError), "ECONNRESET", "closed the connection"),
    (http.client.RemoteDisconnected, "ECONNRESET", "closed the connection without an answer"),
    ((http.client.IncompleteRead, urllib3.IncompleteRead), "ECONNRESET", "closed the connection within the answer"),
    (ssl.SSLError, "EPROTO", "does not speak TLS as it should"),
    ((urllib3.LocationValueError, UnicodeError, ValueError), "EINVAL", "cannot be called like this"),
    (Exception, "EPROTO", "does not speak HTTP as it should"),
)

_CERTIFICATES = {
    9: ("CERT_NOT_YET_VALID", "is not valid yet"),
    10: ("CERT_HAS_EXPIRED", "has expired"),
    18: ("CERT_SELF_SIGNED", "is self-signed"),
    19: ("CERT_SELF_SIGNED", "comes from an authority unknown here"),
    62: ("CERT_NAME_MISMATCH", "is for another host"),
    64: ("CERT_NAME_MISMATCH", "is for another address"),
}
"""Verification codes of OpenSSL (X509_V_ERR_…)."""

_CONNECT = {
    errno.ECONNREFUSED: "refused the connection",
    errno.ETIMEDOUT: "did not accept the connection in time",
    errno.EHOSTUNREACH: "cannot be reached",
    errno.ENETUNREACH: "cannot be reached",
    errno.ECONNRESET: "closed the connection",
}


def call_error(error: Exception, place: str) -> StepError:
    """`place` names what was called: address without query."""
    chain = _causes(error)
    for cause in chain:
        if isinstance(cause, StepError):
            return cause
        if isinstance(cause, ssl.SSLCertVerificationError):
            code, words = _CERTIFICATES.get(cause.verify_code, ("CERT_UNTRUSTED", f"fails: {cause.verify_message}"))
            return StepError(f"{place}: its certificate {words}", code=code, retryable=False)
    for kind, code, words in _TABLE:
        if any(isinstance(cause, kind) for cause in chain):
            return StepError(f"{place} {words} ({chain[-1]})", code=code)
    raise AssertionError("the last row fits every error")


def connect_error(error: Exception, host: str, port: int) -> StepError:
    if isinstance(error, socket.gaierror):
        code = "EAI_AGAIN" if error.errno == socket.EAI_AGAIN else "ENOTFOUND"
        return StepError(f"The host {host} cannot be found ({error.strerror})", code=code)
    if isinstance(error, UnicodeError):
        return StepError(f"{host!r} is not a host name", code="ENOTFOUND")
    number = error.errno if isinstance(error, OSError) and error.errno else None
    if isinstance(error, TimeoutError):
        number = errno.ETIMEDOUT
    if number == errno.ENETUNREACH:
        return StepError(f"{host}:{port} {_CONNECT[number]} ({error})", code="EHOSTUNREACH")
    words = _CONNECT.get(number or 0, "cannot be connected to")
    return StepError(f"{host}:{port} {words} ({error})", code=errno.errorcode.get(number or 0, "ECONNREFUSED"))


def _causes(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        inner = [argument for argument in current.args if isinstance(argument, BaseException)]
        current = current.__cause__ or (inner[-1] if inner else current.__context__)
    return chain
