"""An FTP server for tests, run as a program of its own: `ftp_server.py FOLDER MODE [CERTIFICATE]`.

MODE: plain, explicit or implicit (TLS), or old (no machine-readable listings). It prints its port
when it listens. User `ann`, password `secret`.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def running(folder: Path, mode: str = "plain", certificate: Path | None = None) -> Iterator[int]:
    """→ the port on 127.0.0.1."""
    command = [sys.executable, "-W", "ignore", __file__, str(folder), mode, str(certificate or "")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def serve(folder: str, mode: str, certificate: str) -> None:
    library: Any = importlib.import_module("pyftpdlib.handlers")

    class Old(library.FTPHandler):  # type: ignore[misc]
        def ftp_FEAT(self, line: str) -> None:
            self.respond("502 Command not implemented.")

    class Explicit(library.TLS_FTPHandler):  # type: ignore[misc]
        certfile = certificate
        tls_control_required = True
        tls_data_required = True

    class Implicit(Explicit):
        def handle(self) -> None:
            self.secure_connection(self.ssl_context)
            super().handle()

    plain = library.FTPHandler
    Old.proto_cmds = {name: value for name, value in plain.proto_cmds.items() if name not in ("MLSD", "MLST")}
    handler: Any = {"plain": plain, "old": Old, "explicit": Explicit, "implicit": Implicit}[mode]
    authorizer: Any = importlib.import_module("pyftpdlib.authorizers").DummyAuthorizer()
    authorizer.add_user("ann", "secret", folder, perm="elradfmwMT")
    handler.authorizer = authorizer
    server: Any = importlib.import_module("pyftpdlib.servers").FTPServer(("127.0.0.1", 0), handler)
    print(server.address[1], flush=True)  # noqa: T201 how the test learns the port
    server.serve_forever()


if __name__ == "__main__":
    serve(*sys.argv[1:])
