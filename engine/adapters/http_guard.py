"""Which addresses outbound calls may reach, and sockets that keep to a deadline (design.md §7).

The guard sits where the socket is connected: the name is resolved once, each address is checked,
and the socket goes to an address that passed. A name that resolves differently a moment later
(DNS rebinding), a redirect, or a number written in octal all end at the same check.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, ClassVar

import idna
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

from engine.adapters.http_errors import connect_error
from engine.errors import StepError

HOSTS = 200
CONNECTIONS_PER_HOST = 32

_NAT64 = ip_network("64:ff9b::/96")
_V4_COMPATIBLE = ip_network("::/96")


class AddressGuard:
    """`allow` holds host names, addresses and networks (CIDR) that may be reached although private."""

    def __init__(self, allow: tuple[str, ...]) -> None:
        self._names: set[str] = set()
        self._networks = []
        for entry in allow:
            try:
                self._networks.append(ip_network(entry.strip("[]"), strict=False))
            except ValueError:
                self._names.add(_ascii(entry))

    def permits(self, host: str, address: str) -> bool:
        if _ascii(host) in self._names:
            return True
        meanings = _meanings(ip_address(address))
        if any(meaning in network for meaning in meanings for network in self._networks):
            return True
        return all(_public(meaning) for meaning in meanings)


def _ascii(host: str) -> str:
    name = host.strip("[]").rstrip(".").lower()
    if name.isascii():
        return name
    try:
        return idna.encode(name).decode()
    except idna.IDNAError:
        return name


def _public(address: IPv4Address | IPv6Address) -> bool:
    # is_global alone is not enough: multicast counts as global.
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def _meanings(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """The address and the IPv4 address it carries, if any: a gateway would deliver to that one."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped:
        return [address.ipv4_mapped]
    inner = address.sixtofour or (address.teredo[1] if address.teredo else None)
    if address in _NAT64 or (address in _V4_COMPATIBLE and int(address) > 0xFFFF):
        inner = IPv4Address(int(address) & 0xFFFFFFFF)
    return [inner] if inner and address in _NAT64 else [address, *([inner] if inner else [])]


# -- deadlines

_deadline = threading.local()


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Socket operations of this thread end `seconds` from now at the latest.

    A plain socket timeout starts anew with every byte, so a slow sender could hold a thread for ever.
    """
    before = getattr(_deadline, "at", None)
    _deadline.at = time.monotonic() + seconds
    try:
        yield
    finally:
        _deadline.at = before


def _apply_limit(sock: socket.socket) -> None:
    at: float | None = getattr(_deadline, "at", None)
    if at is None:
        return
    left = at - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time allowed for the call is over")
    sock.settimeout(left)


class _TimedSocket(socket.socket):
    def recv_into(self, *args: Any, **options: Any) -> int:
        _apply_limit(self)
        return super().recv_into(*args, **options)

    def sendall(self, *args: Any, **options: Any) -> None:
        _apply_limit(self)
        super().sendall(*args, **options)


class _TimedTlsSocket(ssl.SSLSocket):
    def recv_into(self, *args: Any, **options: Any) -> int:
        _apply_limit(self)
        return super().recv_into(*args, **options)

    def sendall(self, *args: Any, **options: Any) -> None:
        _apply_limit(self)
        super().sendall(*args, **options)


# -- connections


def allowed_addresses(guard: AddressGuard, host: str, port: int) -> list[Any]:
    """The `getaddrinfo` entries of a host that may be connected to. Raises StepError: EACCES, ENOTFOUND."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise connect_error(error, host, port) from error
    allowed = [entry for entry in found if guard.permits(host, str(entry[4][0]))]
    if not allowed:
        addresses = ", ".join(sorted({str(entry[4][0]) for entry in found})) or "no address"
        raise StepError(
            f"{host} ({addresses}) is a private or reserved address and may not be called; "
            "an administrator can allow the host or its network with the setting HEADRACE_HTTP_ALLOW",
            code="EACCES",
            retryable=False,
        )
    return allowed


def _connect(guard: AddressGuard, host: str, port: int, options: Any) -> socket.socket:
    """Raises StepError: EACCES, ENOTFOUND or what the operating system says of the last address."""
    allowed = allowed_addresses(guard, host, port)
    problem: OSError = OSError("no address")
    for family, kind, protocol, _, target in allowed:
        sock = _TimedSocket(family, kind, protocol)
        try:
            for option in options or ():
                sock.setsockopt(*option)
            _apply_limit(sock)
            sock.connect(target)
            return sock
        except OSError as error:
            problem = error
            sock.close()
    raise connect_error(problem, host, port) from problem


class _Connection(HTTPConnection):
    guard: ClassVar[AddressGuard]

    def _new_conn(self) -> socket.socket:
        return _connect(self.guard, self.host, int(self.port or self.default_port), self.socket_options)


class _TlsConnection(HTTPSConnection):
    guard: ClassVar[AddressGuard]

    def _new_conn(self) -> socket.socket:
        return _connect(self.guard, self.host, int(self.port or self.default_port), self.socket_options)


def guarded_pool(guard: AddressGuard) -> PoolManager:
    """Connection pools whose sockets pass the guard. urllib3 makes connections by class, hence the subclasses."""
    context = ssl.create_default_context()
    context.sslsocket_class = _TimedTlsSocket
    pools = PoolManager(HOSTS, maxsize=CONNECTIONS_PER_HOST, ssl_context=context)
    plain = type("_Guarded", (_Connection,), {"guard": guard})
    secure = type("_GuardedTls", (_TlsConnection,), {"guard": guard})
    pools.pool_classes_by_scheme = {
        "http": type("_Pool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("_TlsPool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
    }
    return pools
