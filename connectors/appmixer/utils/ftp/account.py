"""The fields of an FTP account (`auth.py`), checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connectors.appmixer.utils._kit.errors import wrong

PORTS = {"no": 21, "yes": 21, "implicit": 990, "sftp": 22}


@dataclass(frozen=True, slots=True)
class Login:
    """`secure`: `no`, `yes` (explicit TLS), `implicit` (TLS from the start) or `sftp`."""

    host: str
    port: int
    username: str
    password: str
    private_key: str
    secure: str


def login_of(fields: Mapping[str, Any]) -> Login:
    """Raises StepError naming the field that is missing or wrong."""
    secure = fields.get("secure") or "no"
    if secure not in PORTS:
        raise wrong(f"secure: must be one of {', '.join(PORTS)}, not {secure!r}")
    host = str(fields.get("host") or "").strip()
    if not host or any(mark.isspace() or mark in "/@=" for mark in host):
        raise wrong(f"host: must be the name or address of the server alone, such as ftp.example.com, not {host!r}")
    port = str(fields.get("port") or PORTS[secure]).strip()
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise wrong(f"port: must be a number from 1 to 65535, not {port!r}")
    for name in ("username", "password"):
        if any(mark in str(fields.get(name) or "") for mark in "\r\n\0"):
            raise wrong(f"{name}: must be in one line")
    return Login(
        host,
        int(port),
        str(fields.get("username") or "anonymous"),
        str(fields.get("password") or ""),
        str(fields.get("privatekey") or ""),
        secure,
    )
