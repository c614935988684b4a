"""gunicorn's threaded worker, keeping a busy connection on its thread.

The stock worker hands a connection back to its main thread after every request and gets it again
for the next one: two changes of thread, which cost more than the request itself when a client
sends one after the other (measured: a third of the process's time). Here the thread waits a moment
for the next request first, as long as enough threads are free for other connections.
"""

from __future__ import annotations

import select
import threading
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

LINGER_MS = 20
STREAMS = "headrace streams"
"""Where the web layer keeps its live streams among the application's extensions."""


class StickyThreadWorker(ThreadWorker):
    """At most half of the threads wait like this at a time."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        self._places = threading.BoundedSemaphore(max(1, self.cfg.threads // 2))

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
