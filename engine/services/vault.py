"""Secrets at rest: sealed with a key derived from the installation's secret (design.md §7)."""

from __future__ import annotations

import base64
from typing import Any

import orjson
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from engine.errors import HeadraceError

PURPOSE = b"headrace vault 1"


class Vault:
    """Seals JSON values as text. `former` are earlier secrets: still opened, never used to seal."""

    def __init__(self, secret: str, *former: str) -> None:
        self._keys = MultiFernet([_key(each) for each in (secret, *former)])

    def seal(self, value: Any) -> str:
        return self._keys.encrypt(orjson.dumps(value)).decode()

    def open(self, text: str) -> Any:
        """Raises HeadraceError (code SEALED) when none of the secrets fits or the text was changed."""
        try:
            return orjson.loads(self._keys.decrypt(text.encode()))
        except InvalidToken as error:
            raise HeadraceError(
                "a stored secret cannot be read: it was sealed under another HEADRACE_SECRET; "
                "restore that secret or connect the account again",
                code="SEALED",
            ) from error


def _key(secret: str) -> Fernet:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE).derive(secret.encode())
    return Fernet(base64.urlsafe_b64encode(derived))
