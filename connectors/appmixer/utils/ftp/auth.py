"""Accounts of FTP, FTPS and SFTP servers."""

from __future__ import annotations

from typing import Any

from connectors.appmixer.utils.ftp.account import login_of
from connectors.appmixer.utils.ftp.remote import connected

type = "apiKey"  # noqa: A001 the name the engine looks for

auth = {
    "host": {
        "type": "text",
        "name": "Server",
        "tooltip": "Name or address of the server, such as <code>ftp.example.com</code>.",
        "required": True,
    },
    "port": {
        "type": "text",
        "name": "Port",
        "tooltip": "Empty: 21 for FTP, 990 for implicit TLS, 22 for SFTP.",
    },
    "username": {"type": "text", "name": "User name", "tooltip": "Empty: anonymous."},
    "password": {
        "type": "password",
        "name": "Password",
        "tooltip": "The user's password or, with a private key, the passphrase of the key.",
    },
    "privatekey": {
        "type": "textarea",
        "name": "Private key",
        "tooltip": "For SFTP only: a private key, as in the file the key generator wrote.",
    },
    "secure": {
        "type": "select",
        "name": "Protocol",
        "tooltip": "How the connection is protected.",
        "options": [
            {"label": "FTP, not protected", "value": "no"},
            {"label": "FTP with explicit TLS", "value": "yes"},
            {"label": "FTP with implicit TLS", "value": "implicit"},
            {"label": "SFTP (over SSH)", "value": "sftp"},
        ],
    },
}


def validate(context: Any) -> bool:
    """Log in and out. Raises StepError with the server's words."""
    with connected(context.auth, context.http):
        return True


def account_name_from_profile_info(context: Any) -> str:
    login = login_of(context.auth)
    return f"{login.username}@{login.host}"
