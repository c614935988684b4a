"""One connection to the account's server: FTP or SFTP behind one set of operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, Protocol

from connectors.appmixer.utils._kit.errors import wrong
from connectors.appmixer.utils.ftp.account import login_of
from connectors.appmixer.utils.ftp.over_ftp import ftp_connection
from connectors.appmixer.utils.ftp.over_sftp import sftp_connection
from engine.sdk import Context, Http, StepError

HOST_KEY = "hostKey"
Entry = dict[str, Any]


class Remote(Protocol):
    """Paths are the server's; a relative one starts at the folder of the login. Each method raises StepError."""

    def entries(self, path: str) -> list[Entry]: ...
    def info(self, path: str) -> Entry | None: ...
    def download(self, path: str) -> Iterator[bytes]:
        """Asks for the file at once, so a missing one is reported before anything is read."""

    def upload(self, path: str, file: IO[bytes]) -> None: ...
    def rename(self, path: str, new_path: str) -> None: ...
    def remove(self, path: str) -> None: ...
    def remove_tree(self, path: str) -> None: ...
    def make_directories(self, path: str) -> None: ...


@contextmanager
def connected(
    auth: Mapping[str, Any], http: Http, host_key: str = "", seen: list[str] | None = None
) -> Iterator[Remote]:
    """Log in; the connection ends with the block. An SFTP server's key is added to `seen`.

    Only addresses the installation lets calls go to are connected to (design.md §7).
    """
    login = login_of(auth)
    address = http.resolve(login.host, login.port)
    if login.secure != "sftp":
        with ftp_connection(login, address) as server:
            yield server
    else:
        with sftp_connection(login, address, host_key) as secure_server:
            if seen is not None:
                seen.append(secure_server.host_key())
            yield secure_server


@contextmanager
def server_of(context: Context) -> Iterator[Remote]:
    """The account's server. The key an SFTP server showed first must stay the same until the flow stops."""
    known = context.state.get(HOST_KEY) or ""
    seen: list[str] = []
    with connected(context.auth, context.http, known, seen) as server:
        if seen and seen[0] != known:
            context.state.set(HOST_KEY, seen[0])
        yield server


def is_sftp(context: Context) -> bool:
    return context.auth.get("secure") == "sftp"


def path_of(context: Context, field: str = "path", *, required: bool = True) -> str:
    """A path of the input. Raises StepError when it is missing or cannot be one."""
    path = context.messages["in"].content.get(field) or ""
    return checked_path(path, field, required=required)


def checked_path(path: Any, field: str, *, required: bool = True) -> str:
    if not isinstance(path, str) or any(mark in path for mark in "\r\n\0"):
        raise wrong(f"{field}: must be a path on the server in one line, not {path!r}")
    if required and not path:
        raise wrong(f"{field}: must be given, such as /reports/may.pdf")
    return path


def or_not_found(context: Context, path: str, act: Callable[[], Any]) -> None:
    """Emit `{}` after `act()`, or what the server says about a path it does not have."""
    try:
        act()
    except StepError as error:
        not_found(context, path, error)
    else:
        context.send({}, "out")


def not_found(context: Context, path: str, error: StepError) -> None:
    """Only FTP's code 550 goes to the port; any other error fails the message."""
    if error.code != "550":
        raise error
    context.send({"path": path, "errorCode": 550, "errorMessage": error.message}, "notFound")
