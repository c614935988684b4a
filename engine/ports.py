"""What the engine needs from the world, as protocols; adapters implement them.

Each port has one contract suite in `tests/contract`, run against every adapter.
All methods raise only errors of `engine.errors`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import IO, Any, Literal, Protocol

from engine.model.execution import ExecutionQuery, ExecutionRow
from engine.model.file import FileRecord
from engine.model.http import HttpResponse
from engine.model.log import LogPage, LogQuery
from engine.model.message import Message

Doc = dict[str, Any]
Op = Literal["eq", "ne", "lt", "lte", "gt", "gte", "in", "nin", "starts", "ends", "contains", "regex", "exists"]


@dataclass(frozen=True, slots=True)
class Where:
    """One condition on a dotted path (numeric segments index arrays).

    `eq`, `in`, `starts` … on an array hold when one element holds. `regex` and `contains`
    ignore case. `exists` takes a bool; a null value counts as absent, and `eq None` is
    the same as absent. `ne` and `nin` are the negations of `eq` and `in`.

    On its way a path may pass one array of objects without a number ("sharedWith.email"):
    then it holds when it holds in one of them. Values are compared within their type only
    (numbers, texts, booleans). Regular expressions are RE2's: no look-around, no back
    references, linear time. Raises BadRequest for an empty segment, a quote or backslash in
    a path, and for values that cannot be compared (objects, lists, NaN).
    """

    path: str
    op: Op
    value: Any = None


@dataclass(frozen=True, slots=True)
class Query:
    """All of `where` and, if given, at least one of `any_of` must hold.

    `sort` is [(path, 1 | -1)], the absent before all values, ties by `_id`. `include` or
    `exclude` are top-level field names (never both; `_id` is always returned). `limit=None`
    returns everything.
    """

    where: tuple[Where, ...] = ()
    any_of: tuple[Where, ...] = ()
    sort: tuple[tuple[str, int], ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    limit: int | None = None
    offset: int = 0


class Documents(Protocol):
    """Named collections of JSON documents; every document has a string `_id`.

    Collections and their indexes are declared in `engine/model/collections.py`.
    Writes are durable when the call returns. `excess` tells by how many bytes a collection is over `limit`.
    """

    def get(self, collection: str, id: str) -> Doc | None: ...
    def find(self, collection: str, query: Query = ...) -> list[Doc]: ...
    def count(self, collection: str, query: Query = ...) -> int:
        """How many match; limit and offset do not matter."""

    def insert(self, collection: str, doc: Doc) -> bool:
        """False when the id exists already; the stored document is then unchanged.

        Raises Conflict when another unique index is violated.
        """

    def put(self, collection: str, doc: Doc) -> None:
        """Insert or replace by `_id`."""

    def update(self, collection: str, id: str, changes: Mapping[str, Any], expect: Sequence[Where] = ()) -> bool:
        """Set dotted paths (None removes the field) if the document exists and `expect` holds.

        Missing objects on the way are made. In an array a number is an existing item or the one
        after the last. Raises BadRequest for other paths, Conflict for a violated unique index.
        """

    def update_many(self, collection: str, where: Sequence[Where], changes: Mapping[str, Any]) -> int: ...
    def delete(self, collection: str, id: str) -> bool: ...
    def delete_many(self, collection: str, where: Sequence[Where], limit: int | None = None) -> int: ...
    def excess(self, collection: str, limit: int) -> int: ...
    def delete_oldest(self, collection: str, by: str, *, excess: int, limit: int) -> tuple[int, int]:
        """Delete those with the smallest `by` until `excess` bytes are gone, `limit` at most. → (how many, bytes)."""


StateVerb = Literal["set", "unset", "inc", "add_to_set", "remove_from_set", "clear", "save"]


class State(Protocol):
    """Key-value state of one owner ("component:<flow>:<id>", "flow:<id>", "service:<vendor.service>").

    Every change carries an operation id. An id seen in the last hour changes nothing and
    returns the first result, so a redelivered message cannot count twice (design.md §4.6).
    """

    def load(self, owner: str) -> dict[str, Any]: ...
    def get(self, owner: str, key: str) -> Any: ...
    def apply(self, owner: str, op_id: str, verb: StateVerb, key: str, value: Any = None) -> Any:
        """Result: the new value (`inc`), whether it changed (`add_to_set`, `remove_from_set`), else None.

        `save` replaces all keys by the mapping `value`; `clear` removes them. Raises BadRequest
        when the value is not JSON or what is stored does not suit the verb.
        """

    def drop(self, owner: str) -> None:
        """Remove all keys. Operation ids stay: a late redelivery must not fill the state again."""


@dataclass(frozen=True, slots=True)
class Write:
    """A document to store (or, with `doc=None`, to delete) within a settlement."""

    collection: str
    id: str
    doc: Doc | None


@dataclass(frozen=True, slots=True)
class StateChange:
    """A change of state within a settlement: `State.apply` without an operation id."""

    owner: str
    verb: StateVerb
    key: str
    value: Any = None


@dataclass(slots=True)
class Settlement:
    """Everything one delivery caused: made durable together, before it is acknowledged."""

    publishes: list[Message] = field(default_factory=list)
    logs: list[Doc] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    states: list[StateChange] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message handed to a consumer. `tag` belongs to the adapter."""

    message: Message
    tag: Any
    redelivered: bool = False


@dataclass(frozen=True, slots=True)
class LogBatch:
    records: list[Doc]
    tag: Any


class Bus(Protocol):
    def publish(self, messages: Sequence[Message]) -> Future[None]:
        """Resolves when every message is durable."""

    def settle(self, delivery: Delivery | None, settlement: Settlement) -> Future[None]:
        """End a delivery: all of the settlement becomes durable and the delivery is removed, or neither.

        `None` settles work that was never on the bus (a webhook answered in place).
        A repeated message or record id is stored once.
        """

    def consume(
        self, handler: Callable[[Delivery], None], prefetch: int, share: Callable[[str], int] | None = None
    ) -> None:
        """Start handing deliveries to `handler`, round the flows, at most `prefetch` unsettled at a time.

        `share(flow id)` is how many of them one flow may have; asked for often, so it must be quick.
        """

    def stop_consuming(self) -> None:
        """No delivery begins after this returns; those handed out may still be settled."""

    def take(self, ids: Sequence[str]) -> list[Delivery]:
        """Hand out those of these messages that are on the bus, oldest first, before `consume` is called."""

    def depth(self, flow_id: str | None = None) -> int:
        """Messages waiting or in flight."""

    def remove(
        self, flow_id: str, limit: int, keep: Callable[[Sequence[Message]], Iterable[Write]]
    ) -> tuple[list[Message], int]:
        """Take a flow's waiting messages off the bus: up to `limit` of them, and how many there were.

        What `keep` makes of these becomes durable together with their removal.
        """

    def take_logs(self, limit: int, wait: float) -> LogBatch | None:
        """The oldest log records not yet indexed, waiting up to `wait` seconds for some."""

    def logs_done(self, batch: LogBatch) -> None: ...
    def close(self) -> None: ...


class Cache(Protocol):
    def get(self, key: str) -> Any: ...
    def set(self, key: str, value: Any, ttl: float) -> None: ...
    def delete(self, key: str) -> None: ...
    def incr(self, key: str, by: int, ttl: float) -> int:
        """The new count, starting at 0. `ttl` (seconds) runs from the first call: a window of fixed length."""

    def lock(self, name: str, owner: str, ttl: float) -> bool:
        """Take or renew; False while another owner holds it."""

    def unlock(self, name: str, owner: str) -> bool: ...
    def publish(self, channel: str, text: str) -> None: ...
    def subscribe(self, channel: str, handler: Callable[[str], None]) -> Callable[[], None]:
        """Call `handler` for each text, until the returned function is called."""

    def acquire_slot(self, key: str, ticket: str, limit: int, ttl: float) -> bool:
        """Join the first-in-first-out queue for one of `limit` slots; True once `ticket` holds one.

        Asking again keeps the place (or the slot) and renews it: both lapse after `ttl` seconds.
        """

    def release_slot(self, key: str, ticket: str) -> None:
        """Give a slot back, or leave the queue."""


class LogIndex(Protocol):
    def append(self, records: Sequence[Doc]) -> None:
        """Idempotent by record `id`; a record goes to the month of its `created`.

        Accounting records (type "delivery" and "flow-stopped", see `engine.services.accounting`) are not
        searchable: they are summed up to executions, each counted once however often it is appended.
        """

    def search(self, query: LogQuery) -> LogPage: ...
    def get(self, id: str) -> Doc | None: ...
    def executions(self, query: ExecutionQuery) -> list[ExecutionRow]:
        """Raises BadRequest for a sort field or text it cannot do, TimedOut."""

    def count_executions(self, query: ExecutionQuery) -> int:
        """How many match; sort, limit and offset do not matter. Raises as `executions`."""

    def execution(self, correlation_id: str) -> list[ExecutionRow]:
        """One row for each flow that took part: a caller of a webhook chooses the correlation id it names."""

    def waiting(self, since: int, limit: int) -> list[ExecutionRow]:
        """Those of status `waiting` whose newest record is not older than `since`, oldest first."""

    def conclude(self, rows: Sequence[ExecutionRow]) -> None:
        """They wait no longer: ended, unless a record has come since the row was read."""

    def delete(self, *, before_ms: int | None = None, flow_ids: Sequence[str] = ()) -> int:
        """Delete what is older than `before_ms` and (if given) of `flow_ids`; the number of log records."""

    def shrink(self, limit: int) -> bool:
        """If more than `limit` bytes are used, delete a piece of the oldest; whether that was so. Call it again."""

    def size(self) -> int:
        """Bytes on disk."""

    def close(self) -> None: ...


class Files(Protocol):
    """Blobs. Writing replaces as a whole: readers see the old content or the new, never a mixture."""

    def save(
        self,
        filename: str,
        content: bytes | IO[bytes] | Iterable[bytes],
        *,
        content_type: str,
        metadata: Mapping[str, Any],
        file_id: str | None = None,
        created: int | None = None,
    ) -> FileRecord:
        """A known `file_id` is replaced, content and record. `created` is in epoch milliseconds.

        Raises BadRequest for an id with other characters than letters, digits, "-" and "_",
        TooLarge, and what reading `content` raises; the old content then stays.
        """

    def append(self, file_id: str, content: bytes) -> FileRecord: ...
    def replace(self, file_id: str, content: bytes | IO[bytes] | Iterable[bytes]) -> FileRecord: ...
    def update_metadata(self, file_id: str, metadata: Mapping[str, Any]) -> FileRecord:
        """Set the given keys; None removes one."""

    def info(self, file_id: str) -> FileRecord:
        """Raises NotFound."""

    def open(self, file_id: str) -> IO[bytes]:
        """Can seek; keeps what it opened when the file is replaced, appended to or deleted. Raises NotFound."""

    def delete(self, file_id: str) -> bool: ...
    def find(self, query: Query) -> list[FileRecord]:
        """Paths are those of the JSON record: `filename`, `metadata.userId` …, and `used`."""

    def count(self, query: Query) -> int: ...
    def total_bytes(self, where: Sequence[Where] = ()) -> int: ...


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
