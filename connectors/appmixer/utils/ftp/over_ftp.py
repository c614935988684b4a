"""FTP and FTPS, through ftplib."""

from __future__ import annotations

import errno
import ftplib
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from connectors.appmixer.utils.ftp.account import Login
from connectors.appmixer.utils.ftp.ftp_listing import DIRECTORY, of_facts, of_listing
from engine.sdk import StepError

TIMEOUT = 60.0
CHUNK = 64 * 1024


@contextmanager
def ftp_connection(login: Login, address: str) -> Iterator[OverFtp]:
    """Connect to `address`, log in, log out. A connection that failed is dropped without good-bye."""
    with _errors(login.host):
        ftp = _opened(login, address)
    try:
        with _errors(login.host):
            ftp.login(login.username, login.password)
            if isinstance(ftp, ftplib.FTP_TLS):
                ftp.prot_p()
            with suppress(ftplib.error_perm):
                ftp.sendcmd("OPTS UTF8 ON")
        yield OverFtp(ftp, login.host)
        with suppress(*ftplib.all_errors):
            ftp.quit()
    finally:
        ftp.close()


class OverFtp:
    """The operations of `remote.Remote`."""

    def __init__(self, ftp: ftplib.FTP, host: str) -> None:
        self._ftp = ftp
        self._host = host
        self._facts: bool | None = None

    def entries(self, path: str) -> list[dict[str, Any]]:
        """MLSD where the server has it, else LIST; a server that refuses one way is asked the next."""
        ways: list[tuple[str, Callable[[str], dict[str, Any] | None]]] = [("LIST -a", of_listing), ("LIST", of_listing)]
        if self._has_facts():
            ways.insert(0, ("MLSD", of_facts))
        *others, (last, last_parse) = ways
        for command, parse in others:
            try:
                return self._list(command, path, parse)
            except StepError as error:
                if not error.code.startswith("5"):
                    raise
        return self._list(last, path, last_parse)

    def info(self, path: str) -> dict[str, Any] | None:
        """What MLST says of the path itself, else the first entry of its listing; None when that is empty."""
        if not self._has_facts():
            return next(iter(self._list("LIST", path, of_listing)), None)
        with _errors(self._host):
            lines = self._ftp.sendcmd(f"MLST {path}").splitlines()
        return next((of_facts(line.strip(), itself=True) for line in lines[1:-1]), None)

    def download(self, path: str) -> Iterator[bytes]:
        with _errors(self._host):
            self._ftp.voidcmd("TYPE I")
            data = self._ftp.transfercmd(f"RETR {path}")
        return self._received(data)

    def upload(self, path: str, file: IO[bytes]) -> None:
        with _errors(self._host):
            self._ftp.voidcmd("TYPE I")
            data = self._ftp.transfercmd(f"STOR {path}")
        with _closing(data):
            while chunk := file.read(CHUNK):
                with _errors(self._host):
                    data.sendall(chunk)
        with _errors(self._host):
            self._ftp.voidresp()

    def rename(self, path: str, new_path: str) -> None:
        with _errors(self._host):
            self._ftp.rename(path, new_path)

    def remove(self, path: str) -> None:
        with _errors(self._host):
            self._ftp.delete(path)

    def remove_tree(self, path: str) -> None:
        for entry in self.entries(path):
            below = f"{path.rstrip('/')}/{entry['name']}"
            if entry["type"] == DIRECTORY:
                self.remove_tree(below)
            else:
                self.remove(below)
        with _errors(self._host):
            self._ftp.rmd(path)

    def make_directories(self, path: str) -> None:
        """Servers say in many ways that a folder exists, so going there decides."""
        with _errors(self._host):
            home = self._ftp.pwd()
            done = "/" if path.startswith("/") else ""
            for part in filter(None, path.split("/")):
                done += f"{part}/"
                try:
                    self._ftp.mkd(done.rstrip("/"))
                except ftplib.error_perm:
                    self._ftp.cwd(done)
                    self._ftp.cwd(home)

    def _has_facts(self) -> bool:
        if self._facts is None:
            try:
                self._facts = "MLST" in self._ftp.sendcmd("FEAT").upper()
            except ftplib.error_perm:
                self._facts = False
        return self._facts

    def _list(self, command: str, path: str, parse: Callable[[str], dict[str, Any] | None]) -> list[dict[str, Any]]:
        # a path that begins with a dash would be read as an option
        safe = f"./{path}" if path.startswith("-") else path
        with _errors(self._host):
            data = self._ftp.transfercmd(f"{command} {safe}".rstrip())
        text = b"".join(self._received(data)).decode("utf-8", "replace")
        return [entry for line in text.splitlines() if (entry := parse(line)) is not None]

    def _received(self, data: socket.socket) -> Iterator[bytes]:
        with _closing(data):
            while True:
                with _errors(self._host):
                    chunk = data.recv(CHUNK)
                if not chunk:
                    break
                yield chunk
        with _errors(self._host):
            self._ftp.voidresp()


class _Tls(ftplib.FTP_TLS):
    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int | None]:
        """Many servers demand that a data connection resumes the TLS session of the control connection."""
        data, size = ftplib.FTP.ntransfercmd(self, cmd, rest)  # noqa: S321 protected just below
        assert isinstance(self.sock, ssl.SSLSocket)
        return self.context.wrap_socket(data, server_hostname=self.host, session=self.sock.session), size


def _opened(login: Login, address: str) -> ftplib.FTP:
    """The name stays the host's, for its certificate; the connection goes to the checked address."""
    trust = ssl.create_default_context()
    ftp = ftplib.FTP() if login.secure == "no" else _Tls(context=trust)  # noqa: S321 it is what the user asks for
    sock = socket.create_connection((address, login.port), TIMEOUT)
    if login.secure == "implicit":
        sock = trust.wrap_socket(sock, server_hostname=login.host)
    ftp.host, ftp.port, ftp.timeout, ftp.af, ftp.sock = login.host, login.port, TIMEOUT, sock.family, sock
    ftp.file = sock.makefile("r", encoding="utf-8", errors="replace")
    ftp.welcome = ftp.getresp()
    return ftp


@contextmanager
def _closing(data: socket.socket) -> Iterator[None]:
    """The end of a TLS data connection is announced, as servers expect, but need not be confirmed."""
    try:
        yield
        if isinstance(data, ssl.SSLSocket):
            with suppress(OSError, ValueError):
                data.unwrap()
    finally:
        data.close()


@contextmanager
def _errors(host: str) -> Iterator[None]:
    """ftplib's errors and the system's as StepError; an FTP reply code is the error's code."""
    try:
        yield
    except (ftplib.error_perm, ftplib.error_temp, ftplib.error_reply, ftplib.error_proto) as error:
        code = str(error)[:3]
        raise StepError(f"{host}: {error}", code=code, retryable=not code.startswith("5")) from error
    except ssl.SSLCertVerificationError as error:
        message = f"{host}: its certificate is not trusted: {error.verify_message}"
        raise StepError(message, code="EACCES", retryable=False) from error
    except ssl.SSLError as error:
        raise StepError(f"{host}: {error}", code="EPROTO", retryable=False) from error
    except EOFError as error:
        raise StepError(f"{host} closed the connection", code="ECONNRESET") from error
    except TimeoutError as error:
        raise StepError(f"{host} did not answer in {TIMEOUT:.0f} seconds", code="ETIMEDOUT") from error
    except OSError as error:
        code = errno.errorcode.get(error.errno or 0, "ECONNRESET")
        raise StepError(f"{host}: {error.strerror or error}", code=code) from error
