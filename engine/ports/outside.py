"""The world outside: HTTP, processes, time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import IO, Any, Protocol

from engine.model.http import HttpResponse


class Http(Protocol):
    """The one way out (design.md §7): refuses private addresses, caps redirects, size and time.

    Raises StepError with a system code (ECONNREFUSED, ETIMEDOUT, ENOTFOUND …); any status is an answer.
    Names of answer headers are in lower case. `timeout` covers the whole of `request`; in `stream` the
    head, and then the wait for each chunk.
    """

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        body: bytes | IO[bytes] | None = None,
        timeout: float = 60.0,
        max_bytes: int | None = None,
        follow: bool = True,
    ) -> HttpResponse: ...

    def stream(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, timeout: float = 60.0
    ) -> AbstractContextManager[tuple[HttpResponse, Iterator[bytes]]]:
        """The answer's head (empty body) and its chunks; for downloads."""

    def resolve(self, host: str, port: int) -> str:
        """The address to connect to, for connectors that speak another protocol than HTTP.

        Raises StepError EACCES when the host is private and not allowed, ENOTFOUND when it is unknown.
        """


class Claims(Protocol):
    """Which messages are being executed right now, told to whoever comes after a process that died."""

    def begin(self, message_id: str) -> int:
        """Note a message just before it is executed; costs next to nothing. Returns what `end` needs."""

    def end(self, claim: int) -> None: ...
    def left(self) -> list[str]:
        """Messages that an earlier process was executing when it died, until `forget`."""

    def forget(self) -> None: ...
    def close(self) -> None:
        """An end in order: nothing is left."""


class Children(Protocol):
    """Child processes for heavy or hostile work: it may be killed without harm to anybody else."""

    def run(self, work: Callable[[Any], Any], payload: Any, *, seconds: float, megabytes: int) -> Any:
        """`work(payload)` in a process of its own.

        `work` is a pure function at the top of a module; `payload` and the result are JSON or bytes, the
        result up to 64 MiB. `megabytes` is the memory the call may take beyond what its module needs. The
        wait for a free process does not count. Errors of the engine pass through. Raises StepError:
        CHILD_TIMEOUT, CHILD_MEMORY, CHILD_RESULT (too large), CHILD_DIED, or the name of what `work`
        raised; Unavailable when no process can be had; TypeError for a function that is not at the top.
        """

    def close(self) -> None: ...


class Clock(Protocol):
    def now(self) -> int:
        """Epoch milliseconds."""
