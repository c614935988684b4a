"""What a connector sees of the engine: `Component`, `Context`, and the errors it may raise.

A connector's code imports this module and its own helpers only. Member by member the
semantics are those of engine.md §3, in Python names. `docs/connectors.md` is the guide.

A component is made once per process and used by many threads at a time: keep nothing in it.
Whatever `send`, `respond` and `send_signal` are given leaves only when the call returns
without an error, all of it together; a call that raises has sent nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any, ClassVar, Literal, Protocol

from engine.errors import CancelError, HeadraceError, LockNotAcquired, StepError
from engine.model.file import FileRecord
from engine.model.flow import Descriptor
from engine.model.http import HttpResponse
from engine.ports import Http

__all__ = [
    "CancelError",
    "Component",
    "Context",
    "Effects",
    "FileRecord",
    "Gather",
    "HeadraceError",
    "Http",
    "HttpResponse",
    "Incoming",
    "Link",
    "LockNotAcquired",
    "Quota",
    "StateView",
    "StepError",
    "Stores",
]

Effects = Literal["none", "state", "external"]


class Component:
    """Base of every component's behaviour. Override the hooks it needs.

    `effects` says what a second call with the same message could damage (design.md §4.4):
    "none" – a function of its input; "state" – acts only through the context's own state,
    gathers, timers, files, stores and signals; "external" – calls the world outside.
    """

    effects: ClassVar[Effects] = "external"
    reads_scope: ClassVar[bool] = False
    """True when the behaviour looks into `context.scope` by itself: all earlier outputs are then carried to it."""

    def start(self, context: Context) -> None:
        """The flow starts. An error stops the start."""

    def stop(self, context: Context) -> None:
        """The flow stops. An error is logged and the stop goes on."""

    def receive(self, context: Context) -> None:
        """A message came: over a link, by webhook, as a time-out, or as a static call."""

    def tick(self, context: Context) -> None:
        """Called every polling interval when the manifest says `tick`. Errors are logged, not retried."""

    def signal(self, context: Context) -> None:
        """A component of the flow called `send_signal`; the value is `context.signal_content`."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message on a port. `content` is after the mapping, `original_content` as the sender emitted it."""

    content: Any
    original_content: Any = None
    correlation_id: str = ""
    scope: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sender_id: str | None = None
    sender_port: str | None = None
    timeout_id: str | None = None
    batch: tuple[Incoming, ...] = ()
    """With fire patterns: all messages that waited at this port, oldest first; this one is the newest."""


@dataclass(frozen=True, slots=True)
class Link:
    """One incoming link of this component in the running flow."""

    in_port: str
    sender_id: str
    sender_port: str
    sender_label: str


@dataclass(frozen=True, slots=True)
class Quota:
    """One rule of a `quota.py` (`rules = [Quota(...)]`): at most `limit` calls at a time (or per `window` ms)."""

    limit: int
    resource: str = "*"
    throttling: str = "limit-concurrency"
    window: int | None = None
    queueing: str = "fifo"
    scope: str | None = None


class StateView(Protocol):
    """Key-value state at one level. Changes are atomic and count once even if the message is redelivered."""

    def load(self) -> dict[str, Any]: ...
    def save(self, values: Mapping[str, Any]) -> None:
        """Replace the whole state."""

    def get(self, key: str, default: Any = None) -> Any: ...
    def set(self, key: str, value: Any) -> None: ...
    def unset(self, key: str) -> None: ...
    def clear(self) -> None: ...
    def inc(self, key: str, by: float = 1, *, return_original: bool = False) -> Any: ...
    def add_to_set(self, key: str, value: Any) -> bool: ...
    def remove_from_set(self, key: str, value: Any) -> bool: ...


class Gather(Protocol):
    """A group of items that several messages contribute to and one message takes (design.md §4.6).

    Safe without a lock: an item is kept under the id of the message that brought it, so a
    redelivered message adds nothing; `take` and `fire` give their result to one message only,
    and the same result again if that message is redelivered.
    """

    def add(self, value: Any) -> None: ...
    def count(self) -> int:
        """Items not taken yet."""

    def items(self) -> list[Any]:
        """Items not taken yet, in order of arrival."""

    def fire(self) -> bool:
        """Close the group: True for the first message that asks (and for its redelivery), False after."""

    @property
    def fired(self) -> bool: ...
    def take(self, minimum: int = 0) -> list[Any] | None:
        """Remove and return all items, in order, if there are at least `minimum`; None otherwise.

        A redelivered message that took items gets them again whatever `minimum` it gives now, so a
        component that cannot know the minimum any more asks for `sys.maxsize`.
        """

    def clear(self) -> None:
        """Forget items and whether the group has fired."""


class Stores(Protocol):
    """The flow owner's data stores. An entry is {key, value, storeId, createdAt, updatedAt} (ISO times)."""

    def get(self, store_id: str, key: str) -> dict[str, Any] | None: ...
    def set(self, store_id: str, key: str, value: Any) -> dict[str, Any]:
        """→ {key, oldValue, newValue, createdAt, updatedAt}."""

    def modify(self, store_id: str, key: str, change: Callable[[Any], Any]) -> dict[str, Any]:
        """Set the value to `change(old value or None)`, atomically; `change` may be called again. → as `set`."""

    def remove(self, store_id: str, key: str) -> dict[str, Any]:
        """→ {key, oldValue}; a missing key is not an error."""

    def clear(self, store_id: str) -> int:
        """→ how many entries were deleted."""

    def find(
        self, store_id: str, *, pattern: str | None = None, query: Mapping[str, Any] | None = None,
        sort: str | None = None, limit: int | None = None, offset: int = 0,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """`pattern`: regular expression on keys. `query`: Mongo-style filter on the entry. `sort`: "key:1"."""

    def create(self, name: str) -> str:
        """→ the new store's id."""

    def list(self) -> list[dict[str, Any]]:
        """→ [{name, storeId}]."""

    def register_webhook(self, store_id: str, events: Iterable[str] = ("insert", "update", "delete")) -> None:
        """Deliver changes to this component as webhook content `{"data": {type, currentValue, oldValue?}}`."""

    def unregister_webhook(self, store_id: str) -> None: ...


class Context(Protocol):
    """One call of one hook. Attributes are set before the call and do not change."""

    @property
    def messages(self) -> Mapping[str, Incoming]:
        """By in port; also "webhook" (content {method, hostname, headers, query, data}) and "timeout"."""

    @property
    def properties(self) -> Mapping[str, Any]: ...
    @property
    def auth(self) -> Mapping[str, Any]:
        """The account's fields, `profileInfo`, `userId` and the service's configuration, merged."""

    @property
    def config(self) -> Mapping[str, Any]: ...
    @property
    def profile_info(self) -> Mapping[str, Any]: ...
    @property
    def message_id(self) -> str:
        """Stable over retries and redeliveries: key of a resume marker."""

    @property
    def correlation_id(self) -> str: ...
    @property
    def component_id(self) -> str: ...
    @property
    def component_type(self) -> str: ...
    @property
    def component_label(self) -> str: ...
    @property
    def flow_id(self) -> str: ...
    @property
    def flow_name(self) -> str: ...
    @property
    def user_id(self) -> str: ...
    @property
    def custom_fields(self) -> Mapping[str, Any]: ...
    @property
    def flow_descriptor(self) -> Mapping[str, Any]:
        """The whole running flow, as saved: {component id: {type, label, source, config …}}."""

    @property
    def descriptor(self) -> Descriptor: ...
    @property
    def scope(self) -> Mapping[str, Mapping[str, Any]]:
        """Outputs of earlier steps, {component id: {port: content}}."""

    @property
    def signal_content(self) -> Any: ...
    @property
    def api_url(self) -> str: ...

    @property
    def state(self) -> StateView: ...
    @property
    def flow_state(self) -> StateView: ...
    @property
    def service_state(self) -> StateView:
        """Shared by all users and flows of the connector."""

    @property
    def stores(self) -> Stores: ...
    @property
    def http(self) -> Http: ...

    # -- output
    def send(self, content: Any, port: str, *, scope: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Emit JSON on an out port. `scope` replaces the variable scope of what follows."""

    def send_array(self, items: Iterable[Any], port: str) -> None:
        """One message per item."""

    def respond(self, body: Any = None, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Answer the webhook call this execution began with; the first answer wins."""

    def log(self, content: Any, *, level: str = "info") -> None:
        """Write to the run log people see."""

    def send_signal(self, content: Any) -> None:
        """Call `signal` of every component of this flow."""

    # -- time
    def now(self) -> datetime:
        """Aware, UTC; use it instead of the system clock."""

    def set_timeout(self, content: Any, milliseconds: float, *, name: str | None = None) -> str:
        """Call `receive` later with `messages["timeout"]`; survives restarts. Returns the time-out's id.

        It is set together with everything else the call did. One with a `name` is set at once, in place of
        the component's earlier one of that name: for a time-out that another message may cancel meanwhile.
        """

    def clear_timeout(self, timeout_id: str | None = None, *, name: str | None = None) -> None:
        """Cancel by id or by name; an unknown one, or none, is harmless."""

    def set_max_wait(self, until: datetime | float | str) -> None:
        """How long this execution's data is kept for a call back: a date, ms from now, or ISO text."""

    def uuid(self) -> str:
        """A UUID that is the same when this message is redelivered."""

    # -- files
    def save_file(
        self, filename: str, content: bytes | IO[bytes] | Iterable[bytes], content_type: str | None = None
    ) -> FileRecord: ...
    def replace_file(
        self, file_id: str, content: bytes | IO[bytes] | Iterable[bytes], *, expect: str | None = None
    ) -> FileRecord:
        """`expect` is the `md5` of the content this one was made from; a retry follows when it is another by now.

        A message changes a file once, however often it is delivered; its content is then not read again.
        """

    def append_file(self, file_id: str, content: bytes, *, expect: str | None = None) -> FileRecord: ...
    def file_info(self, file_id: str) -> FileRecord: ...
    def open_file(self, file_id: str) -> IO[bytes]: ...
    def load_file(self, file_id: str) -> bytes: ...
    def remove_file(self, file_id: str) -> dict[str, Any]:
        """→ {fileId}."""

    def archive_file(self, file_id: str) -> FileRecord: ...

    # -- coordination
    def lock(
        self, name: str, *, ttl: int = 20_000, retry_delay: int = 200, max_retry_count: int = 30
    ) -> AbstractContextManager[Callable[[int], None]]:
        """A named lock of this connector; the value of the `with` extends it by milliseconds.

        Raises LockNotAcquired after retry_delay × max_retry_count ms.
        """

    def gather(self, name: str) -> Gather:
        """The group `name` of this component."""

    def cache_get(self, key: str) -> Any:
        """Shared by all flows, with a time to live; may vanish any time."""

    def cache_set(self, key: str, value: Any, ttl_ms: int) -> None: ...

    # -- the rest of the platform
    def webhook_url(self, *, enqueue_only: bool = False) -> str:
        """This component's public address, bound to this execution when there is one."""

    def call_component(
        self, type: str, port: str, *, properties: Mapping[str, Any] | None = None,
        messages: Mapping[str, Any] | None = None, transform: str | None = None,
    ) -> Any:  # fmt: skip
        """Static call: run another component's `receive` here, return what it sent to `port`."""

    def call_api(
        self, path: str, *, method: str = "GET", body: Any = None, query: Mapping[str, Any] | None = None
    ) -> Any:
        """This installation's own REST API, as the flow's owner. Raises StepError on non-2xx."""

    def run_log(self, *, query: str = "", size: int = 100, search_after: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
        """Records of this flow's log, oldest first, each with `_id` and `sort`."""

    def add_listener(self, event: str, params: Mapping[str, Any] | None = None) -> None: ...
    def remove_listener(self, event: str) -> None: ...
    def links(self) -> list[Link]:
        """Incoming links of this component."""

    def manifest(self, type: str) -> Mapping[str, Any] | None:
        """The component.json of a type in the catalogue, as read; None when there is no such type."""

    def labels(self) -> Mapping[str, str]:
        """Label of every component of the flow, by id."""

    def stop_flow(self) -> None:
        """Ask for the flow to be stopped once this call has returned."""

    def eval_javascript(self, code: str, data: Any = None) -> Any:
        """Value of the last expression, `$data` being `data`; in an isolate with time and memory limits."""

    def heavy(
        self, work: Callable[[Any], Any], payload: Any = None, *, seconds: float = 60.0, megabytes: int = 256
    ) -> Any:
        """`work(payload)` in a process of its own that is killed when it takes more than `seconds` or `megabytes`.

        For what takes long or trusts its input too much: converting documents, unpacking archives. `work` is
        a function at the top of a module of the connector; it gets nothing but `payload` and both that and its
        result are JSON or bytes. What is large goes by the path of a file. Only for components whose
        `effects` are "external": others run on threads of which there are few. Raises StepError.
        """
