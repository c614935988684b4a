"""Makes documents durable: what waits at the same time in one bulk."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.errors import HeadraceError, Unavailable
from engine.ports import StateChange, Write

log = logging.getLogger(__name__)

Bulk = Callable[[Sequence[Write], Sequence[StateChange]], None]
"""Stores all of it durably before it returns; of one document it is given one write only. Raises as Documents do."""

MOST = 200
"""Settlements in one bulk."""


@dataclass(frozen=True, slots=True)
class _Order:
    writes: Sequence[Write]
    states: Sequence[StateChange]
    done: Callable[[Exception | None], None]


class Writer:
    """`done` is called on the writer's thread."""

    def __init__(self, bulk: Bulk) -> None:
        self._bulk = bulk
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="rabbit documents", daemon=True)
        self._thread.start()

    def submit(
        self, writes: Sequence[Write], states: Sequence[StateChange], done: Callable[[Exception | None], None]
    ) -> None:
        self._orders.put(_Order(writes, states, done))

    def _run(self) -> None:
        while (order := self._orders.get()) is not None:
            together = [order]
            ending = False
            while len(together) < MOST and not ending and not self._orders.empty():
                following = self._orders.get()
                if following is None:
                    ending = True
                else:
                    together.append(following)
            self._store(together)
            if ending:
                return

    def _store(self, orders: list[_Order]) -> None:
        error = self._try(orders)
        if error is None or isinstance(error, Unavailable) or len(orders) == 1:
            for order in orders:
                order.done(error)
            return
        for order in orders:  # one of them is at fault: the others must not suffer for it
            order.done(self._try([order]))

    def _try(self, orders: list[_Order]) -> Exception | None:
        latest = {(write.collection, write.id): write for order in orders for write in order.writes}
        states = [change for order in orders for change in order.states]
        try:
            self._bulk(list(latest.values()), states)
        except HeadraceError as error:
            return error
        except Exception as error:
            log.exception("documents could not be stored", extra={"action": "bulk_failed"})
            return error
        return None

    def close(self) -> None:
        """Store what waits."""
        self._orders.put(None)
        self._thread.join()
