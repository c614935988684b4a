"""An SFTP channel through the OpenSSH client, which the machine must have.

The client is given everything on its command line and in a folder of its own that is removed
afterwards; it reads no configuration, agent or keys of the system. The password (or passphrase)
reaches it through its askpass interface, never on the command line or in the environment.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from connectors.appmixer.utils._kit.errors import wrong
from connectors.appmixer.utils.ftp.account import Login
from engine.sdk import StepError

PATH = "/usr/local/bin:/usr/bin:/bin"
CONNECT_SECONDS = 20
_ASKPASS = '#!/bin/sh\nexec cat "${0%/*}/answer"\n'
_FAILURES = (
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", "EACCES"),
    ("Host key verification failed", "EACCES"),
    ("Permission denied", "EACCES"),
    ("Too many authentication failures", "EACCES"),
    ("invalid format", "EACCES"),
    ("contains invalid characters", "EACCES"),
    ("error in libcrypto", "EACCES"),
    ("Connection refused", "ECONNREFUSED"),
    ("timed out", "ETIMEDOUT"),
    ("No route to host", "EHOSTUNREACH"),
    ("unreachable", "EHOSTUNREACH"),
    ("subsystem request failed", "EPROTO"),
)


@dataclass(slots=True)
class Channel:
    """The running client: bytes to and from the server's SFTP subsystem."""

    process: subprocess.Popen[bytes]
    folder: Path
    host: str

    def host_key(self) -> str:
        """The key the server showed, as a line for the next connection."""
        return (self.folder / "known_hosts").read_text()

    def failure(self) -> StepError:
        """Why the client ended, in its own words."""
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        said = (self.folder / "stderr").read_text(errors="replace").strip()
        code = next((code for words, code in _FAILURES if words in said), "ECONNRESET")
        if "HOST IDENTIFICATION HAS CHANGED" in said:
            said = "its key is not the one it had when the flow started; if that is right, stop and start the flow"
        reason = said.splitlines()[-1] if said else "the connection was closed"
        return StepError(f"{self.host}: {reason}", code=code, retryable=False if code in ("EACCES", "EPROTO") else None)


@contextmanager
def channel(login: Login, address: str, host_key: str) -> Iterator[Channel]:
    """Connect and log in. With a `host_key` the server must show that one, else any is accepted."""
    client = shutil.which("ssh", path=PATH)
    if client is None:
        raise wrong("SFTP needs the OpenSSH client: install the package openssh-client on this machine")
    with tempfile.TemporaryDirectory(prefix="headrace-sftp-") as name:
        folder = Path(name)
        command = [client, *_options(login, folder, host_key), "-l", login.username, "-p", str(login.port)]
        environment = {"PATH": PATH, "LC_ALL": "C"}
        if login.password:
            environment |= {"SSH_ASKPASS": _askpass(folder, login.password), "SSH_ASKPASS_REQUIRE": "force"}
        with (
            (folder / "stderr").open("wb") as errors,
            subprocess.Popen(  # noqa: S603 every argument is ours or the value of an option
                [*command, "-s", "--", address, "sftp"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
                env=environment,
                start_new_session=True,
            ) as process,
        ):
            try:
                yield Channel(process, folder, login.host)
            finally:
                process.kill()


def _options(login: Login, folder: Path, host_key: str) -> list[str]:
    (folder / "known_hosts").write_text(host_key)
    methods = ["password", "keyboard-interactive"] if login.password else []
    settings = {
        "StrictHostKeyChecking": "yes" if host_key else "accept-new",
        "UserKnownHostsFile": str(folder / "known_hosts"),
        "GlobalKnownHostsFile": "none",
        "HostKeyAlias": login.host,
        "CheckHostIP": "no",
        "UpdateHostKeys": "no",
        "IdentityAgent": "none",
        "IdentitiesOnly": "yes",
        "IdentityFile": "none",
        "NumberOfPasswordPrompts": "1",
        "ConnectTimeout": str(CONNECT_SECONDS),
        "ServerAliveInterval": "15",
        "ServerAliveCountMax": "4",
        "ClearAllForwardings": "yes",
        "ForwardAgent": "no",
        "ControlPath": "none",
        "LogLevel": "ERROR",
    }
    if login.private_key:
        settings["IdentityFile"] = _key_file(folder, login.private_key)
        methods.insert(0, "publickey")
    settings["PreferredAuthentications"] = ",".join(methods) or "none"
    return ["-F", "none", "-T", "-x", *(part for name, value in settings.items() for part in ("-o", f"{name}={value}"))]


def _key_file(folder: Path, text: str) -> str:
    """The key with the line ends and the final line end the client insists on."""
    path = folder / "key"
    path.touch(mode=0o600)
    path.write_text("\n".join(line.strip() for line in text.strip().splitlines()) + "\n")
    return str(path)


def _askpass(folder: Path, answer: str) -> str:
    """A program that prints the answer: what the client runs instead of asking at a terminal."""
    secret, program = folder / "answer", folder / "askpass"
    secret.touch(mode=0o600)
    secret.write_text(f"{answer}\n")
    program.write_text(_ASKPASS)
    program.chmod(0o700)
    return str(program)
