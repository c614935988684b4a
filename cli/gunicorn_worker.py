"""gunicorn's threaded worker, keeping a busy connection on its thread.

The stock worker hands a connection back to its main thread after every request and gets it again
for the next one: two changes of thread, which cost more than the request itself when a client
sends one after the other (measured: a third of the process's time). Here the thread waits a moment
for the next request first, as long as enough threads are free for other connections.

The stock worker also ends the process when no descriptor is left for a new connection. Here such a
connection is answered 503, with the last descriptor, which is held back for this.
"""

from __future__ import annotations

import errno
import os
import resource
import select
import socket
import threading
import time
from http import HTTPStatus
from typing import Any

import orjson
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine
from gunicorn.workers.gthread import TConn, ThreadWorker

LINGER_MS = 20
MARGIN = 32
"""Descriptors that connections leave to files, calls and locks."""

SHORT_FOR = 5.0
"""Seconds that /health tells of refused connections."""

LAST_SECONDS = 2.0
"""How long the rest of a request that was refused is taken in."""

_REASON = "no file descriptors are left: raise the limit of open files, or call less often"

STREAMS = "headrace streams"
"""Where the web layer keeps its live streams among the application's extensions."""


def _refusal(status: HTTPStatus, message: str, *headers: str) -> bytes:
    """An error as the web layer words it (webapp.errors)."""
    body = orjson.dumps({"statusCode": status.value, "error": status.phrase, "message": message})
    head = (f"HTTP/1.1 {status.value} {status.phrase}", "Content-Type: application/json", *headers)
    return "\r\n".join((*head, "Connection: close", f"Content-Length: {len(body)}\r\n\r\n")).encode() + body


class StickyThreadWorker(ThreadWorker):
    """At most half of the threads wait like this at a time."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        self._places = threading.BoundedSemaphore(max(1, self.cfg.threads // 2))
        self._spare = _spare()
        self._short_at = -SHORT_FOR

    def shortage(self) -> str | None:
        """For /health: whether connections were refused a moment ago."""
        return _REASON if time.monotonic() - self._short_at < SHORT_FOR else None

    def accept(self, listener: Any) -> None:
        try:
            connection, address = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._refuse_with_spare(listener)
            elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return
        if connection.fileno() >= resource.getrlimit(resource.RLIMIT_NOFILE)[0] - MARGIN:
            self._refuse(connection)  # the lowest free number is always given: nearly all are taken
            return
        self.nr_conns += 1
        connection.setblocking(True)
        self.enqueue_req(TConn(self.cfg, connection, address, listener.getsockname()))  # type: ignore[no-untyped-call]

    def _refuse_with_spare(self, listener: Any) -> None:
        if self._spare is not None:
            os.close(self._spare)
        try:
            self._refuse(listener.accept()[0])
        except OSError:
            time.sleep(0.05)  # another thread was faster with the descriptor: the caller waits
        self._spare = _spare()

    def _refuse(self, connection: socket.socket) -> None:
        self._short_at = time.monotonic()
        with connection:
            refusal = _refusal(HTTPStatus.SERVICE_UNAVAILABLE, _REASON, "Retry-After: 5")
            _send_last(connection, refusal, 0.05)  # this is the thread that everybody waits for

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """What is too long is refused in the words of the API, not in a page."""
        if isinstance(exc, LimitRequestLine):
            text = f"the address with its query is too long: at most {self.cfg.limit_request_line} bytes"
            _send_last(client, _refusal(HTTPStatus.REQUEST_URI_TOO_LONG, text), LAST_SECONDS)
        elif isinstance(exc, LimitRequestHeaders):
            text = f"the headers are too long: at most {self.cfg.limit_request_field_size} bytes for each"
            _send_last(client, _refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, text), LAST_SECONDS)
        else:
            super().handle_error(req, client, addr, exc)  # type: ignore[no-untyped-call]

    def is_parent_alive(self) -> bool:
        """Without the parent nobody would start this process again: it ends, and makes room at once."""
        alive: bool = super().is_parent_alive()  # type: ignore[no-untyped-call]
        if not alive:
            self.handle_exit(0, None)
            self.set_accept_enabled(False)  # type: ignore[no-untyped-call]
            for listener in self.sockets:
                listener.close()
        return alive

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: live streams would keep their connections open, so they are told to end."""
        super().handle_exit(sig, frame)  # type: ignore[no-untyped-call]
        hub = getattr(self.wsgi, "extensions", {}).get(STREAMS)
        if hub is not None:
            threading.Thread(target=hub.close, daemon=True).start()

    def handle(self, conn: Any) -> Any:
        """Answers requests until the connection falls quiet; the result is the stock worker's for the last one."""
        while True:
            result = super().handle(conn)  # type: ignore[no-untyped-call]
            if result is not True or not self.alive or not self._next_is_here(conn):
                return result

    def _next_is_here(self, conn: Any) -> bool:
        if conn.parser.unreader.buf.getvalue():
            return True  # it was read together with the last one
        if not self._places.acquire(blocking=False):
            return False
        try:
            poll = select.poll()
            poll.register(conn.sock, select.POLLIN)
            return bool(poll.poll(LINGER_MS))
        finally:
            self._places.release()


def _send_last(connection: socket.socket, answer: bytes, seconds: float) -> None:
    """Send it, and take in what is still coming: closing with something unread would take the answer back."""
    until = time.monotonic() + seconds
    try:
        connection.settimeout(seconds)
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65_536) and time.monotonic() < until:
            pass
    except OSError:
        pass


def _spare() -> int | None:
    try:
        return os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return None
