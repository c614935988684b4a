from __future__ import annotations

import getpass
import os
import pwd
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests import needs
from tests.connectors.ftp_server import running

Account = dict[str, Any]

SSHD_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the server serves."""
    path = tmp_path / "served"
    path.mkdir()
    return path


@pytest.fixture(params=["plain", "old"])
def account(request: pytest.FixtureRequest, folder: Path) -> Iterator[Account]:
    """An FTP server with, and one without, machine-readable listings."""
    with running(folder, request.param) as port:
        yield {"host": "127.0.0.1", "port": port, "username": "ann", "password": "secret"}


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and self-signed certificate of localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(key.private_bytes(*form) + made.public_bytes(serialization.Encoding.PEM))
    return path


class SshServer:
    """An OpenSSH server on a port of its own, for the user who runs the tests."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self.port = _free_port()
        self.make_key("host")
        self.make_key("client", "open sesame")
        self.configuration = folder / "sshd_config"
        self.configuration.write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {folder}/host\nPidFile none\nUsePAM no\nStrictModes no\n"
            f"AuthorizedKeysFile {folder}/client.pub\nPermitRootLogin yes\nPasswordAuthentication no\n"
            "Subsystem sftp internal-sftp\n"
        )

    def make_key(self, name: str, passphrase: str = "") -> None:
        for old in self._folder.glob(f"{name}*"):
            old.unlink()
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(self._folder / name)]
        subprocess.run(command, check=True)

    def start(self, program: str) -> None:
        command = [program, "-D", "-e", "-f", str(self.configuration)]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if "Server listening" in line:
                return
        raise AssertionError("sshd did not start")

    def stop(self) -> None:
        if self._process is not None and self._process.stderr is not None:
            self._process.terminate()
            self._process.wait()
            self._process.stderr.close()

    @property
    def account(self) -> Account:
        return {
            "host": "127.0.0.1",
            "port": str(self.port),
            "username": getpass.getuser(),
            "password": "open sesame",
            "privatekey": (self._folder / "client").read_text(),
            "secure": "sftp",
        }


@pytest.fixture
def ssh_server(tmp_path: Path) -> Iterator[tuple[SshServer, str]]:
    """A server that is not started yet, and the program to start it with."""
    program = needs.program("sshd", "it comes with the package openssh-server", SSHD_PATH)
    for name in ("ssh", "ssh-keygen"):
        needs.program(name, "it comes with the package openssh-client")
    if os.getuid() == 0:
        try:
            pwd.getpwnam("sshd")
        except KeyError:
            needs.missing("there is no user sshd, which the package openssh-server makes")
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    keys = tmp_path / "ssh"
    keys.mkdir(mode=0o700)
    server = SshServer(keys)
    try:
        yield server, program
    finally:
        server.stop()


@pytest.fixture
def sftp(ssh_server: tuple[SshServer, str]) -> Account:
    """The account of a running SFTP server; its key has a passphrase."""
    server, program = ssh_server
    server.start(program)
    return server.account


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
