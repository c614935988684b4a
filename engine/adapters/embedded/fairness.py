"""Waiting deliveries by flow, handed out one flow after the other."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

from engine.ports import Delivery


class RoundRobin:
    """Not thread-safe: the bus holds its lock. A flow with a long queue delays no other flow."""

    def __init__(self) -> None:
        self._flows: OrderedDict[str, deque[Delivery]] = OrderedDict()

    def waiting(self, flow_id: str) -> int:
        return len(self._flows.get(flow_id, ()))

    def push(self, flow_id: str, delivery: Delivery) -> None:
        self._flows.setdefault(flow_id, deque()).append(delivery)

    def pop(self, may_have: Callable[[str], bool]) -> Delivery | None:
        """The next delivery of the first flow that may have one more; its flow goes to the end of the line."""
        flow_id = next((flow_id for flow_id in self._flows if may_have(flow_id)), None)
        if flow_id is None:
            return None
        waiting = self._flows.pop(flow_id)
        delivery = waiting.popleft()
        if waiting:
            self._flows[flow_id] = waiting
        return delivery

    def drop(self, flow_id: str) -> list[Delivery]:
        return list(self._flows.pop(flow_id, ()))
