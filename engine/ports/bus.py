"""Messages and log records on their way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from engine.model.message import Message
from engine.ports.storage import Doc, StateChange, Write


@dataclass(slots=True)
class Settlement:
    """Everything one delivery caused: made durable together, before it is acknowledged.

    `last` are documents that say the rest is done, such as the removal of the timer that was published. Where
    not all is one transaction they become durable after everything else, and `writes` and `states` before.
    """

    publishes: list[Message] = field(default_factory=list)
    logs: list[Doc] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    states: list[StateChange] = field(default_factory=list)
    last: list[Write] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message handed to a consumer. `tag` belongs to the adapter.

    `redelivered`: it may have been with a consumer before, and parts of its work may be durable. `returned` says
    how often it came back unsettled, if the bus counts that.
    """

    message: Message
    tag: Any
    redelivered: bool = False
    returned: int = 0


@dataclass(frozen=True, slots=True)
class LogBatch:
    records: list[Doc]
    tag: Any


class Bus(Protocol):
    """Messages and log records on their way. What is durable is delivered at least once.

    Two kinds of bus are told apart where it matters. One that *knows its messages* (the embedded one) stores an
    id once, settles in one transaction and can pick messages out. A *broker* cannot: a message published twice, or
    settled just when the connection is lost, is delivered again, though never two copies at a time within a
    process; whoever handles it finds by its id what has been done already (design.md §4.5).
    """

    @property
    def blocked(self) -> str | None:
        """Why nothing can be made durable at present, if that is known: calls from outside had better be refused."""

    def publish(self, messages: Sequence[Message]) -> Future[None]:
        """Resolves when every message is durable. Fails with Unavailable when that cannot be said in time."""

    def settle(self, delivery: Delivery | None, settlement: Settlement) -> Future[None]:
        """End a delivery: all of the settlement becomes durable and the delivery is removed, or neither.

        `None` settles work that was never on the bus (a webhook answered in place). A repeated record id is
        stored once, and so is a repeated message by a bus that knows its messages. After a failure it may be
        offered again; a broker may have stored parts of it, in the order `Settlement` says, but has not removed
        the delivery. Fails with DeliveryLost when the message comes again by itself: nothing has been published
        then that its copy would not publish too, and it must not be offered again.
        """

    def consume(
        self, handler: Callable[[Delivery], None], prefetch: int, share: Callable[[str], int] | None = None
    ) -> None:
        """Start handing deliveries to `handler`, round the flows, at most `prefetch` unsettled at a time.

        `share(flow id)` is how many of them one flow may have; asked for often, so it must be quick. A broker
        hands out round the flows what it has fetched, which is about `prefetch` messages of each of its queues.
        """

    def stop_consuming(self) -> None:
        """No delivery begins after this returns; those handed out may still be settled."""

    def take(self, ids: Sequence[str]) -> list[Delivery]:
        """Hand out those of these messages that are on the bus, oldest first, before `consume` is called.

        A broker cannot pick messages out and hands out none: what came back too often it brings by itself, on
        the queue of suspects.
        """

    def depth(self, flow_id: str | None = None) -> int:
        """Messages waiting or in flight. Of a flow, a broker knows a good estimate only."""

    def remove(
        self, flow_id: str, limit: int, keep: Callable[[Sequence[Message]], Iterable[Write]]
    ) -> tuple[list[Message], int]:
        """Take a flow's waiting messages off the bus: up to `limit` of them, and how many there were.

        What `keep` makes of these becomes durable together with their removal. A broker cannot pick messages
        out: it removes none and returns ([], 0). They are delivered as before, and whoever handles one sees
        that its run is over.
        """

    def take_logs(self, limit: int, wait: float) -> LogBatch | None:
        """The oldest log records not yet indexed, waiting up to `wait` seconds for some.

        Records lie in pieces, one or more settlements' each; the first piece is taken whole, and further ones
        until there are `limit` records.
        """

    def logs_done(self, batch: LogBatch) -> None:
        """They are not taken again, unless the connection to a broker is lost at this moment."""

    def close(self) -> None:
        """Settlements under way are completed, if that can be done soon; later ones fail with Unavailable."""
